/** Traces: the caller's `traceparent` in the log, and spans at a collector where the variables `OTEL_*` name one. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { traceParentOf } from '../src/http/exchange/trace.js'
import { openTracing } from '../src/serve/tracing.js'
import { image, testApp } from './http-app.js'
import { ManualClock } from './manual-clock.js'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const SPAN = '00f067aa0ba902b7'

t.test('traceparent is read as the specification says', async (t) => {
  t.same(traceParentOf(`00-${TRACE}-${SPAN}-01`), { traceId: TRACE, spanId: SPAN, sampled: true })
  t.same(traceParentOf(`00-${TRACE}-${SPAN}-00`)?.sampled, false)
  t.same(traceParentOf(`00-${TRACE}-${SPAN}-09`)?.sampled, true, 'other flags are ignored')
  t.same(traceParentOf(`01-${TRACE}-${SPAN}-01-what-later-versions-add`)?.traceId, TRACE)
  for (const field of [
    undefined,
    '',
    [`00-${TRACE}-${SPAN}-01`],
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${'0'.repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    `00-${TRACE}-${SPAN}`,
  ])
    t.equal(traceParentOf(field), undefined, String(field))
})

t.test("log lines of a request name its caller's trace", async (t) => {
  const { app, logs } = await testApp(t)
  await app.inject({ url: '/v1/domains', headers: { traceparent: `00-${TRACE}-${SPAN}-01` } })
  await app.inject({ url: '/v1/domains', headers: { traceparent: 'nonsense' } })
  const lines = logs.filter(({ msg }) => msg === 'request')
  t.match(lines, [{ trace_id: TRACE }, { msg: 'request' }])
  t.notOk('span_id' in lines[0]!, 'nothing records a span of ours')
  t.notOk('trace_id' in lines[1]!)
})

interface Span {
  name: string
  traceId: string
  spanId: string
  parentSpanId?: string
  kind: number
  status: { code?: number }
  attributes: { key: string; value: Record<string, unknown> }[]
}
interface Export {
  resourceSpans: { resource: { attributes: Span['attributes'] }; scopeSpans: { spans: Span[] }[] }[]
}

/** A collector on a free port that keeps what it is sent, and the variables that name it. */
async function collector(t: Test, own: Record<string, string> = {}) {
  const exports: Export[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    if (request.url === '/v1/traces') exports.push(JSON.parse(text) as Export)
    response.setHeader('content-type', 'application/json').end('{}')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`, ...own }
  // The libraries read the process's own variables.
  Object.assign(process.env, env)
  t.teardown(() => {
    for (const name of Object.keys(env)) delete process.env[name]
  })
  return { env, exports }
}

const values = (attributes: Span['attributes']) =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

/** What `openTracing` is given; `lines` are the log's. */
function surroundings() {
  const lines: object[] = []
  const logger = { warn: (fields: object, message: string) => void lines.push({ ...fields, message }) }
  return { lines, parts: { logger: logger as never, clock: new ManualClock() } }
}

t.test('each request is a span of its trace, under the id that the log has', async (t) => {
  const { env, exports } = await collector(t, {
    OTEL_SERVICE_NAME: 'shop-vision',
    OTEL_RESOURCE_ATTRIBUTES: 'team=returns',
  })
  const tracing = (await openTracing(env, surroundings().parts))!
  const { app, logs } = await testApp(t, { tracing })
  const payload = image(0, 1, 1)
  await app.inject({
    method: 'POST',
    url: '/v1/domains/colours/predict',
    headers: { 'content-type': 'image/png', traceparent: `00-${TRACE}-${SPAN}-01` },
    payload,
  })
  await app.inject({ url: '/v1/domains/nobody' })
  await app.inject({
    method: 'GET',
    url: '/v1/domains',
    headers: { traceparent: `00-${TRACE}-${SPAN}-00` },
  })
  await tracing.close()
  const [{ resource, scopeSpans }] = exports.flatMap(({ resourceSpans }) => resourceSpans) as [
    Export['resourceSpans'][0],
  ]
  t.match(values(resource.attributes), { 'service.name': 'shop-vision', team: 'returns' })
  const spans = scopeSpans.flatMap(({ spans }) => spans)
  const lines = logs.filter(({ msg }) => msg === 'request')
  t.match(spans, [
    {
      name: 'POST /v1/domains/{domain}/predict',
      traceId: TRACE,
      parentSpanId: SPAN,
      spanId: lines[0]!.span_id as string,
    },
    { name: 'GET /v1/domains/{domain}', traceId: lines[1]!.trace_id as string },
  ])
  t.equal(spans.length, 2, 'a trace that its caller does not record is not recorded here')
  t.match(values(spans[0]!.attributes), {
    'http.response.status_code': 200,
    'facet.domain': 'colours',
    'facet.queue_ms': Number,
  })
  t.match(values(spans[1]!.attributes), { 'error.type': 'unknown_domain' })
})

t.test('it is off where nothing asks for it, and refuses what it does not speak', async (t) => {
  const { parts } = surroundings()
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' }
  for (const env of [
    {},
    { OTEL_SERVICE_NAME: 'facet' },
    { ...endpoint, OTEL_SDK_DISABLED: 'true' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none' },
  ])
    t.equal(await openTracing(env, parts), undefined)
  await t.rejects(openTracing({ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, parts), {
    message: /grpc: spans are sent as http\/json/,
  })
})

t.test('a collector that cannot be reached is told once, and fails no request', async (t) => {
  const { env } = await collector(t, {
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
    OTEL_EXPORTER_OTLP_TIMEOUT: '100',
  })
  const { parts, lines } = surroundings()
  const tracing = (await openTracing(env, parts))!
  const { app } = await testApp(t, { tracing })
  t.equal((await app.inject({ url: '/v1/domains' })).statusCode, 200)
  await tracing.close()
  t.match(lines, [{ message: 'spans are not exported', reason: /ECONNREFUSED/ }])
  t.equal(lines.length, 1)
})
