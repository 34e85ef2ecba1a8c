/**
 * Spans for OpenTelemetry: one for each request, sent to a collector. On where the standard variables `OTEL_*` name an
 * endpoint; its libraries are loaded only then, and read all the others themselves
 * (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
 */
import type { Attributes, Context } from '@opentelemetry/api'
import type { Logger } from 'pino'
import type { Clock } from '../concurrency/clock.js'
import type { RequestEnd, RequestSpan, TraceParent, Tracing } from '../http/exchange/trace.js'
import { VERSION } from '../host/package.js'

/** The exporter tells of every batch that it could not send. The log has one line in this time, ms. */
const ONE_COMPLAINT_MS = 60_000
/** Milliseconds at the end for the last spans to be sent. */
const LAST_SPANS_MS = 1000

export interface OpenTracing extends Tracing {
  /** Sends what is left, as far as the collector takes it in time. */
  close(): Promise<void>
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * The exporter that the variables ask for; undefined where they ask for none.
 * @throws Error for a protocol that is not built in
 */
export async function openTracing(
  env: Environment,
  { logger, clock }: { logger: Pick<Logger, 'warn'>; clock: Clock },
): Promise<OpenTracing | undefined> {
  if (!wanted(env)) return undefined
  const [api, base, { OTLPTraceExporter }, resources] = await Promise.all([
    import('@opentelemetry/api'),
    import('@opentelemetry/sdk-trace-base'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ])
  const { diag, DiagLogLevel, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace, TraceFlags } = api
  let toldAt = Number.NEGATIVE_INFINITY
  const complain = (reason: string) => {
    if (clock.now() - toldAt < ONE_COMPLAINT_MS) return
    toldAt = clock.now()
    logger.warn({ reason }, 'spans are not exported')
  }
  const quiet = () => {}
  diag.setLogger(
    { error: complain, warn: complain, info: quiet, debug: quiet, verbose: quiet },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )
  const own = resources.resourceFromAttributes({ 'service.name': 'facet', 'service.version': VERSION })
  const given = resources.detectResources({ detectors: [resources.envDetector] })
  const provider = new base.BasicTracerProvider({
    resource: own.merge(given),
    spanProcessors: [new base.BatchSpanProcessor(new OTLPTraceExporter())],
  })
  const tracer = provider.getTracer('facet', VERSION)

  const contextOf = (parent: TraceParent | undefined): Context => {
    if (parent === undefined) return ROOT_CONTEXT
    const { traceId, spanId, sampled } = parent
    const traceFlags = sampled ? TraceFlags.SAMPLED : TraceFlags.NONE
    return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true })
  }

  return {
    begin(parent): RequestSpan {
      const span = tracer.startSpan('request', { kind: SpanKind.SERVER }, contextOf(parent))
      const { traceId, spanId } = span.spanContext()
      return {
        traceId,
        spanId,
        end(end) {
          span.updateName(`${end.method} ${end.route}`)
          span.setAttributes(attributesOf(end))
          if (end.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
          span.end()
        },
      }
    },
    async close() {
      let cancel = () => {}
      const late = new Promise<void>((resolve) => {
        cancel = clock.after(LAST_SPANS_MS, resolve)
      })
      await Promise.race([provider.shutdown().catch(({ message }: Error) => complain(message)), late])
      cancel()
    },
  }
}

/** @throws Error for a protocol that is not built in */
function wanted(env: Environment): boolean {
  const endpoint = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT
  if (!endpoint || env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none')
    return false
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL
  if (protocol && protocol !== 'http/json')
    throw new Error(
      `OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}: spans are sent as http/json, which every collector takes at its HTTP port (4318). Leave the variable out, or set it to http/json.`,
    )
  return true
}

/** Attributes by OpenTelemetry's conventions for HTTP servers, and what only Facet knows. */
function attributesOf({ method, route, status, code, domain, timings }: RequestEnd): Attributes {
  return {
    'http.request.method': method,
    'http.route': route,
    'http.response.status_code': status,
    ...(code && { 'error.type': code }),
    ...(domain !== undefined && { 'facet.domain': domain }),
    ...(timings && {
      'facet.decode_ms': timings.decodeMs,
      'facet.queue_ms': timings.queueMs,
      'facet.inference_ms': timings.inferenceMs,
    }),
  }
}
