// Shows the API document that the page brings with it.
SwaggerUIBundle({
  spec: JSON.parse(document.getElementById("openapi").textContent),
  domNode: document.getElementById("page"),
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null, // it would ask a server on the internet
});
