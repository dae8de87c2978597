// Notices that rq-dashboard does not show: a request has failed, so the page is out of date; what a button did.
(function ($) {
    var $notice = $('<p role="status">').hide().prependTo('body');
    var stale = false;

    function tell(kind, text) {
        $notice.attr('class', 'alert alert-' + kind + ' sticky-top text-center mb-0').text(text).toggle(text !== '');
    }

    function reason(answer) {
        try {
            return JSON.parse(answer.responseText).detail;
        } catch (notJson) {
            return answer.status ? 'The web server answered ' + answer.status + '.' : 'The web server did not answer.';
        }
    }

    $(document).ajaxError(function (event, answer, request) {
        if (answer.status === 200) {
            return;  // each page asks for a list of servers, which does not exist here, and gets the first page
        }
        stale = request.type !== 'POST';
        tell('danger', reason(answer) + (stale ? ' This page is out of date.' : ''));
    });

    $(document).ajaxSuccess(function (event, answer, request) {
        if (request.type === 'POST') {
            tell('success', answer.responseJSON.message);
        } else if (stale) {
            stale = false;
            tell('success', '');
        }
    });
})($);
