/** The document and the service agree: routes, parameters, statuses, bodies, error codes. */
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ErrorObject, ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { FastifyInstance, InjectOptions } from 'fastify'
import t from 'tap'
import { parse } from 'yaml'
import { asJson, asTypes } from '../clients/generate.mjs'
import { errorTable } from '../src/errors.js'
import { readPages } from '../src/http/pages/files.js'
import { pattern } from '../src/http/exchange/record.js'
import { image, multipart, pack, testApp } from './http-app.js'

interface Media {
  schema?: object
  example?: unknown
  examples?: Record<string, { value: unknown }>
}
interface Answer {
  $ref?: string
  headers?: Record<string, { $ref?: string; schema?: object }>
  content?: Record<string, Media>
}
interface Operation {
  operationId: string
  security: unknown[]
  parameters?: { $ref?: string; name?: string; in?: string }[]
  requestBody?: { $ref?: string; content?: Record<string, Media> }
  responses: Record<string, Answer>
}
type Methods = 'get' | 'put' | 'post' | 'patch' | 'delete'

const text = readFileSync(new URL('../openapi.yaml', import.meta.url), 'utf8')
const json = readFileSync(new URL('../openapi.json', import.meta.url), 'utf8')
const document = parse(text) as {
  openapi: string
  info: { version: string }
  paths: Record<string, Partial<Record<Methods, Operation>> & { parameters?: Operation['parameters'] }>
  components: { schemas: Record<string, { enum?: string[] }> }
}

const ajv = new Ajv2020({ strict: false, allErrors: true })
addFormats.default(ajv)
ajv.addSchema(document, 'doc')

/** Follows a reference into the document. */
function resolve<T>(node: T & { $ref?: string }): T {
  if (node.$ref === undefined) return node
  const found = node.$ref
    .slice(2)
    .split('/')
    .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document)
  if (found === undefined) throw new Error(`${node.$ref} leads nowhere`)
  return resolve(found as T & { $ref?: string })
}

/** Compiles a schema of the document; its references are the document's. */
function validator(schema: object): ValidateFunction {
  return ajv.compile(
    JSON.parse(JSON.stringify(schema), (key, value) =>
      key === '$ref' && typeof value === 'string' ? `doc${value}` : value,
    ),
  )
}

const say = (errors: ErrorObject[] | null | undefined) => JSON.stringify(errors, null, 1)

function* operations(): Generator<[string, Methods, Operation]> {
  for (const [path, item] of Object.entries(document.paths))
    for (const method of ['get', 'put', 'post', 'patch', 'delete'] as const)
      if (item[method]) yield [path, method, item[method]]
}

/** Whether a path is of the plane whose failures are `{"error": "..."}`. */
const isProtocol = (path: string) => /^\/v2(\/|$)/.test(path)

t.test('every route is in the document, and nothing else is', async (t) => {
  const { app } = await testApp(t)
  const documented = [...operations()].map(([path, method]) => `${method.toUpperCase()} ${path}`)
  t.strictSame(documented.sort(), routesOf(app))
})

/** Routes as Fastify knows them, without the HEAD it adds to each GET. */
function routesOf(app: FastifyInstance): string[] {
  const routes: string[] = []
  const path: string[] = []
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const found = /^((?:│ {3}| {4})*)(?:├──|└──) (\S*)(?: \(([A-Z, ]+)\))?/.exec(line)
    if (!found) continue
    const depth = found[1]!.length / 4
    path.splice(depth, path.length, found[2]!)
    for (const method of found[3]?.split(', ') ?? [])
      if (method !== 'HEAD') routes.push(`${method} ${pattern(path.join(''))}`)
  }
  return [...new Set(routes)].sort()
}

t.test('operations have distinct ids, their path parameters and a security entry', async (t) => {
  const ids = [...operations()].map(([, , { operationId }]) => operationId)
  t.equal(new Set(ids).size, ids.length)
  for (const [path, method, operation] of operations()) {
    t.ok(operation.security, `${method} ${path}`)
    const inPath = [...(document.paths[path]!.parameters ?? []), ...(operation.parameters ?? [])]
      .map((parameter) => resolve(parameter))
      .filter((parameter) => parameter.in === 'path')
      .map(({ name }) => `{${name}}`)
    t.strictSame(inPath, path.match(/\{\w+\}/g) ?? [], `${method} ${path}`)
  }
})

t.test('query parameters that the document does not name, and repeated ones, are refused', async (t) => {
  const { app } = await testApp(t)
  for (const [path, method, operation] of operations()) {
    const known = (operation.parameters ?? [])
      .map((parameter) => resolve(parameter))
      .filter((parameter) => parameter.in === 'query')
      .map(({ name }) => name!)
    const url = path.replace(/\{\w+\}/g, 'abcdef')
    const unknown = await app.inject({ method, url: `${url}?nonsense=1` })
    const detail = `Unknown query parameter "nonsense"; this route reads ${known.join(', ') || 'none'}.`
    const refused = (detail: string | RegExp) =>
      isProtocol(path) ? { error: detail } : { status: 400, code: 'bad_parameter', detail }
    t.equal(unknown.statusCode, 400)
    t.match(unknown.json(), refused(detail), `${method} ${path}`)
    t.ok(operation.responses['400'], `${method} ${path}`)
    for (const name of known) {
      const twice = await app.inject({ method, url: `${url}?${name}=1&${name}=1` })
      t.match(twice.json(), refused(/more than once/), name)
    }
  }
})

t.test(
  'every operation documents the answers to an unknown method and to a header that is too long',
  async (t) => {
    const { app } = await testApp(t)
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as AddressInfo
    const long = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = { 'x-long': 'x'.repeat(12_000) }
      request({ port, path: '/livez', headers, agent: false }, resolve).on('error', reject).end()
    })
    long.resume()
    t.equal(long.statusCode, 431)
    const fits = (status: string, body: object, headers: Record<string, unknown>, operation: Operation) => {
      const { headers: documented = {}, content } = resolve(operation.responses[status]!)
      const type = String(headers['content-type']).split(';')[0]!
      t.ok(validator(content![type]!.schema!)(body), `${operation.operationId} ${status}`)
      for (const name of Object.keys(documented)) t.ok(headers[name.toLowerCase()], `${status}: ${name}`)
    }
    for (const [path, method, operation] of operations()) {
      const url = path.replace(/\{\w+\}/g, 'abcdef')
      const refused = await app.inject({ method: 'OPTIONS', url })
      t.equal(refused.statusCode, 405, url)
      t.ok(
        String(refused.headers.allow).split(', ').includes(method.toUpperCase()),
        `${url}: ${refused.headers.allow}`,
      )
      fits('405', refused.json(), refused.headers, operation)
      t.ok(resolve(operation.responses['431']!).content![String(long.headers['content-type'])], `${url} 431`)
    }
  },
)

t.test('the error codes are those of the table', async (t) => {
  t.strictSame(document.components.schemas.ErrorCode!.enum, Object.keys(errorTable))
})

/** Codes that no operation answers: of paths that are no operation's, and where nobody reads the answer. */
const OF_NO_OPERATION = ['not_found', 'client_closed']

t.test('every error code has an example in an answer of its status', async (t) => {
  const shown = new Set<string>()
  for (const [path, method, { responses }] of operations())
    for (const [status, answer] of Object.entries(responses)) {
      const examples = resolve(answer).content?.['application/problem+json']?.examples
      if (Number(status) < 400 || path.startsWith('/v2')) continue
      for (const [code, { value }] of Object.entries(examples ?? {})) {
        const { status: told, title } = errorTable[code as keyof typeof errorTable]
        t.match(value, { code, title, status: told }, `${method} ${path}`)
        t.equal(status, String(told), `${method} ${path} ${code}`)
        shown.add(code)
      }
      t.ok(examples, `${method} ${path} ${status} has examples`)
    }
  const missing = Object.keys(errorTable).filter((code) => !shown.has(code))
  t.strictSame(missing, OF_NO_OPERATION)
})

t.test('every answer with a body, and every JSON body of a request, has an example', async (t) => {
  for (const [path, method, operation] of operations()) {
    // Of a public protocol, whose specification has them.
    if (path.startsWith('/v2')) continue
    const answers = Object.entries(operation.responses).map(
      ([status, answer]) => [status, resolve(answer).content ?? {}] as const,
    )
    const body = resolve(operation.requestBody ?? {}).content ?? {}
    for (const [where, content] of [...answers, ['body', body] as const])
      for (const [type, media] of Object.entries(content))
        if (/json|text|yaml/.test(type) && type !== 'text/html')
          t.ok(media.example ?? media.examples, `${method} ${path} ${where} ${type}`)
  }
})

t.test('what is made of openapi.yaml says what it says', async (t) => {
  const types = readFileSync('src/client/api.ts', 'utf8')
  t.ok(json === asJson(text), 'openapi.json is what npm run openapi writes')
  t.ok(types === (await asTypes(text)), 'src/client/api.ts is what npm run openapi writes')
})

t.test("the version is the package's", async (t) => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  t.equal(document.info.version, version)
})

t.test('every reference resolves and every example fits its schema', async (t) => {
  const examples: [string, Media][] = []
  const visit = (where: string, node: unknown): void => {
    if (typeof node !== 'object' || node === null) return
    const { $ref, schema, example, examples: several } = node as Media & { $ref?: string }
    if (typeof $ref === 'string') resolve({ $ref })
    if (schema !== undefined && example !== undefined) examples.push([where, { schema, example }])
    if (schema !== undefined)
      for (const [name, { value }] of Object.entries(several ?? {}))
        examples.push([`${where} ${name}`, { schema, example: value }])
    for (const [key, value] of Object.entries(node)) visit(`${where}/${key}`, value)
  }
  visit('', document)
  t.ok(examples.length >= 60)
  for (const [where, { schema, example }] of examples) {
    const validate = validator(schema!)
    t.ok(validate(example), `${where} ${say(validate.errors)}`)
  }
})

const raw = { 'content-type': 'application/octet-stream' }
const domain = '/v1/domains/colours'
const model = '/v2/models/colours'
const labels = pack(['a', 'b'])

/** Requests that together reach every operation and many of its statuses. */
const requests: [string, InjectOptions][] = [
  ['predict', { method: 'POST', url: `${domain}/predict`, headers: raw, payload: image(1) }],
  ['predict', { method: 'POST', url: `${domain}/predict`, payload: { images: ['SU1HAAAA'] } }],
  ['predict', { method: 'POST', url: `${domain}/predict`, headers: raw, payload: 'junk' }],
  ['predict', { method: 'POST', url: `${domain}/predict?top_k=0`, headers: raw, payload: image(1) }],
  ['predict', { method: 'POST', url: '/v1/domains/bare/predict', headers: raw, payload: image(1) }],
  ['predict', { method: 'POST', url: '/v1/domains/nope/predict', headers: raw, payload: image(1) }],
  ['predict', { method: 'POST', url: `${domain}/predict`, headers: raw, payload: Buffer.alloc(5000) }],
  ['predict', { method: 'POST', url: `${domain}/predict`, headers: { 'content-type': 'a/b' }, payload: 'x' }],
  ['embed', { method: 'POST', url: `${domain}/embed`, headers: raw, payload: image(1) }],
  [
    'predictMixed',
    { method: 'POST', url: '/v1/predict', ...multipart([{ name: 'shapes', bytes: image(1) }]) },
  ],
  ['predictMixed', { method: 'POST', url: '/v1/predict', ...multipart([{ name: 'shapes', bytes: labels }]) }],
  ['listDomains', { method: 'GET', url: '/v1/domains' }],
  ['listDomains', { method: 'GET', url: '/v1/domains?limit=0' }],
  ['getDomain', { method: 'GET', url: domain }],
  ['getDomain', { method: 'GET', url: '/v1/domains/nope' }],
  ['getCard', { method: 'GET', url: `${domain}/card` }],
  ['getCard', { method: 'GET', url: '/v1/domains/nope/card' }],
  ['listVersions', { method: 'GET', url: `${domain}/versions` }],
  ['putDomain', { method: 'PUT', url: '/v1/domains/pets', headers: raw, payload: labels }],
  ['putDomain', { method: 'PUT', url: `${domain}?activate=false`, headers: raw, payload: labels }],
  ['putDomain', { method: 'PUT', url: domain, headers: raw, payload: 'junk' }],
  ['putDomain', { method: 'PUT', url: domain, headers: { ...raw, 'if-none-match': '*' }, payload: labels }],
  ['putDomain', { method: 'PUT', url: domain, headers: { ...raw, via: '1.1 x' }, payload: labels }],
  ['patchDomain', { method: 'PATCH', url: domain, payload: { pinned: true } }],
  ['patchDomain', { method: 'PATCH', url: domain, payload: {} }],
  ['getPack', { method: 'GET', url: `${domain}/pack` }],
  ['getPack', { method: 'GET', url: `${domain}/pack`, headers: { 'if-none-match': '*' } }],
  ['activateVersion', { method: 'POST', url: `${domain}/activate`, payload: { version: 'abcdef' } }],
  ['deleteVersion', { method: 'DELETE', url: `${domain}/versions/abcdef` }],
  ['deleteDomain', { method: 'DELETE', url: '/v1/domains/base' }],
  ['deleteDomain', { method: 'DELETE', url: domain }],
  ['getFamily', { method: 'GET', url: '/v1/family' }],
  ['listFamilies', { method: 'GET', url: '/v1/families' }],
  ['getFamilyByName', { method: 'GET', url: '/v1/families/tiny' }],
  ['getFamilyByName', { method: 'GET', url: '/v1/families/huge' }],
  ['getServerMetadata', { method: 'GET', url: '/v2' }],
  ['getServerLive', { method: 'GET', url: '/v2/health/live' }],
  ['getServerReady', { method: 'GET', url: '/v2/health/ready' }],
  ['getModelMetadata', { method: 'GET', url: model }],
  ['getModelMetadata', { method: 'GET', url: '/v2/models/nope' }],
  ['getModelConfig', { method: 'GET', url: `${model}:features/config` }],
  ['getModelReady', { method: 'GET', url: `${model}/ready` }],
  ['getModelVersionMetadata', { method: 'GET', url: `${model}/versions/abcdef` }],
  ['getModelVersionConfig', { method: 'GET', url: `${model}/versions/abcdef/config` }],
  ['getModelVersionReady', { method: 'GET', url: `${model}/versions/abcdef/ready` }],
  ['inferModel', { method: 'POST', url: `${model}/infer`, headers: raw, payload: image(1) }],
  ['inferModel', { method: 'POST', url: `${model}/infer`, headers: raw, payload: 'junk' }],
  ['inferModel', { method: 'POST', url: `${model}/infer`, payload: { inputs: [] } }],
  [
    'inferModelVersion',
    { method: 'POST', url: `${model}/versions/abcdef/infer`, headers: raw, payload: image(1) },
  ],
  ['getModelStatistics', { method: 'GET', url: `${model}/stats` }],
  ['getModelVersionStatistics', { method: 'GET', url: `${model}/versions/abcdef/stats` }],
  ['getAllStatistics', { method: 'GET', url: '/v2/models/stats' }],
  ['listModels', { method: 'POST', url: '/v2/repository/index' }],
  ['loadModel', { method: 'POST', url: '/v2/repository/models/colours/load', payload: {} }],
  ['loadModel', { method: 'POST', url: '/v2/repository/models/nope/load' }],
  ['unloadModel', { method: 'POST', url: '/v2/repository/models/shapes/unload' }],
  ['getMetrics', { method: 'GET', url: '/metrics' }],
  ['getLive', { method: 'GET', url: '/livez' }],
  ['getReady', { method: 'GET', url: '/readyz' }],
  ['getOpenApiJson', { method: 'GET', url: '/openapi.json' }],
  ['getDocs', { method: 'GET', url: '/docs' }],
  ['getOpenApi', { method: 'GET', url: '/openapi.yaml' }],
  ['getIndex', { method: 'GET', url: '/' }],
]

t.test("the service's answers fit the document", async (t) => {
  const { app, domains } = await testApp(t, { openapi: { yaml: text, json }, pages: await readPages() })
  await domains.put('bare', pack(null), { activate: true })
  const byId = new Map([...operations()].map(([, , operation]) => [operation.operationId, operation]))
  const met = new Set<string>()
  for (const [operationId, request] of requests) {
    met.add(operationId)
    const answer = await app.inject(request)
    const where = `${request.method} ${String(request.url)} ${answer.statusCode}`
    const documented = byId.get(operationId)!.responses[String(answer.statusCode)]
    if (!t.ok(documented, `${where} is documented`)) continue
    const { headers = {}, content } = resolve(documented!)
    for (const [name, header] of Object.entries(headers)) {
      const value = answer.headers[name.toLowerCase()]
      if (value === undefined) {
        t.equal(name, 'ETag', `${where}: ${name} is missing`)
        continue
      }
      const { schema } = resolve(header)
      const validate = validator(schema!)
      t.ok(
        validate((schema as { type?: string }).type === 'integer' ? Number(value) : value),
        `${where} ${name}`,
      )
    }
    const type = String(answer.headers['content-type'] ?? '').split(';')[0]!
    if (content === undefined) {
      t.equal(answer.body, '', where)
      continue
    }
    const media = content[type]
    if (!t.ok(media, `${where}: ${type}`) || !/json/.test(type)) continue
    const validate = validator(media!.schema!)
    t.ok(validate(answer.json()), `${where} ${say(validate.errors)}`)
  }
  t.strictSame([...met].sort(), [...byId.keys()].sort(), 'every operation was met')
})
