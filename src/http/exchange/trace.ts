/**
 * W3C Trace Context (https://www.w3.org/TR/trace-context/): a request that comes with `traceparent` is logged under its
 * trace, and where spans are exported, each request is one. Which exporter there is, is `serve/tracing.ts`'s business.
 */
import type { IncomingMessage } from 'node:http'
import type { ErrorCode } from '../../errors.js'
import type { PredictTimings } from '../../predict/predictor.js'

/** The span of the caller, as its `traceparent` tells. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  traceId: string
  /** 16 hexadecimal digits. */
  spanId: string
  /** Whether the caller records its span. */
  sampled: boolean
}

/** How a request ended. */
export interface RequestEnd {
  method: string
  /** The route's pattern. */
  route: string
  status: number
  code: ErrorCode | undefined
  domain: string | undefined
  timings: PredictTimings | null
}

/** One request, while it is recorded. */
export interface RequestSpan {
  readonly traceId: string
  readonly spanId: string
  end(end: RequestEnd): void
}

/** Records requests as spans. */
export interface Tracing {
  begin(parent: TraceParent | undefined): RequestSpan
}

/** What log lines of a request say of its trace; the names are those of OpenTelemetry's log format. */
export interface TraceFields {
  trace_id?: string
  span_id?: string
}

const PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const SAMPLED = 1

/** Reads `traceparent`; undefined where there is none, or where the specification says that it is to be ignored. */
export function traceParentOf(field: string | readonly string[] | undefined): TraceParent | undefined {
  const [, version, traceId, spanId, flags, rest] =
    typeof field === 'string' ? (PARENT.exec(field) ?? []) : []
  if (!version || !traceId || !spanId || version === 'ff') return undefined
  if (version === '00' && rest !== undefined) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(flags!, 16) & SAMPLED) !== 0 }
}

/** The traces of the requests that are being answered. */
export class Traces {
  readonly #tracing: Tracing | undefined
  readonly #spans = new WeakMap<IncomingMessage, RequestSpan>()

  /** @param tracing without one, only log lines name the trace of the caller */
  constructor(tracing: Tracing | undefined) {
    this.#tracing = tracing
  }

  /** Begins a request. @returns what its log lines are to say */
  begin(request: IncomingMessage): TraceFields {
    const parent = traceParentOf(request.headers.traceparent)
    if (this.#tracing === undefined) return parent === undefined ? {} : { trace_id: parent.traceId }
    const span = this.#tracing.begin(parent)
    this.#spans.set(request, span)
    return { trace_id: span.traceId, span_id: span.spanId }
  }

  end(request: IncomingMessage, end: RequestEnd): void {
    this.#spans.get(request)?.end(end)
  }
}
