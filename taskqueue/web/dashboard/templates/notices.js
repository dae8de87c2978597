// What rq-dashboard keeps to itself: a request that failed, so that its page shows the past; what a button did.
(function ($) {
    var $notice = $('<p role="status">').hide().prependTo('body');
    var stale = false;

    function tell(kind, text) {
        $notice.attr('class', 'alert alert-' + kind + ' sticky-top text-center mb-0').text(text).toggle(text !== '');
    }

    function reason(answer) {
        try {
            return JSON.parse(answer.responseText).detail;
        } catch (notOurs) {
            return answer.status ? 'The web server answered ' + answer.status + '.' : 'The web server did not answer.';
        }
    }

    $(document).ajaxError(function (event, answer, request) {
        if (answer.status === 200) {
            return;  // each page asks for a list of servers that does not exist, and gets the first page
        }
        stale = request.type !== 'POST';
        tell('danger', reason(answer) + (stale ? ' This page shows what it knew before.' : ''));
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
