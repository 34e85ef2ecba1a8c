/** Shows the API's description with Swagger UI. It asks no other site: no validator, and the token is not kept. */
const { SwaggerUIBundle } = /** @type {any} */ (globalThis)

SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#api',
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
  defaultModelsExpandDepth: 0,
})
