/**
 * The data plane: images in, predictions or features out. Order is kept; one bad image fails the request.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { checkDomainId } from '../../../domain-id.js'
import { FacetError, noHead, unknownDomain } from '../../../errors.js'
import type { PredictItem, PredictResult, PredictTimings } from '../../../predict/predictor.js'
import { activate, topK } from '../../../predict/scores.js'
import { checkDomain } from '../../access/auth.js'
import { imagesOf, type MediaType, type Part } from '../../bodies/body.js'
import { bodyBudget } from '../../bodies/budget.js'
import { departure } from '../../connections/departure.js'
import type { AppDeps, Domains } from '../../exchange/deps.js'
import { checkVersion, queryOf, timeoutOf, wholeNumber } from '../../exchange/parameters.js'

const DEFAULT_TOP_K = 5
const images: readonly MediaType[] = [
  'image/*',
  'application/octet-stream',
  'multipart/form-data',
  'application/json',
]

type OfDomain = { Params: { domain: string } }

export function predictRoutes(
  app: FastifyInstance,
  deps: Pick<AppDeps, 'predictor' | 'registry' | 'config' | 'clock'>,
): void {
  const { predictor, registry, config, clock } = deps
  const limits = { bytes: config.maxBody, parts: config.maxImages, option: '--max-body' }
  const route = { scope: 'predict', accepts: images, limitedBy: '--max-body' } as const

  const bodies = bodyBudget(config.maxBodies, config.maxBody)

  /** Before the body is read: no bytes are taken for a domain that is not there. */
  const admitDomain = async (request: FastifyRequest) => {
    const { domain } = request.params as OfDomain['Params']
    requireDomain(request, registry, domain)
  }

  /** Its body counts until the request is answered, and until it is done where the client has left. */
  const holding = <Request extends FastifyRequest>(
    handle: (request: Request, reply: FastifyReply) => Promise<unknown>,
  ) => {
    return (request: Request, reply: FastifyReply) => bodies.hold(request, () => handle(request, reply))
  }

  const run = async (
    request: FastifyRequest,
    reply: FastifyReply,
    items: PredictItem[],
    needHead: boolean,
  ) => {
    const deadline = request.arrival + timeoutOf(request, config.timeoutMs, config.maxTimeoutMs)
    if (clock.now() >= deadline)
      throw new FacetError(
        'deadline_exceeded',
        'The body took longer to arrive than X-Request-Timeout allows.',
      )
    const signal = departure(reply)
    const { results, timings } = await predictor
      .predict(items, { deadline, signal, needHead })
      .catch((error: unknown) => {
        throw located(error, request)
      })
    void reply.header('server-timing', serverTiming(timings))
    return results
  }

  app.post<OfDomain>(
    '/domains/:domain/predict',
    { config: route, bodyLimit: config.maxBody, onRequest: [admitDomain, bodies.admit] },
    holding<FastifyRequest<OfDomain>>(async (request, reply) => {
      const query = queryOf(request, ['top_k', 'version'])
      const k = topKOf(query.top_k)
      const items = itemsOf(request.params.domain, versionOf(query.version), await imagesOf(request, limits))
      const results = await run(request, reply, items, true)
      return { results: results.map((result) => prediction(result, k)) }
    }),
  )

  app.post<OfDomain>(
    '/domains/:domain/embed',
    { config: route, bodyLimit: config.maxBody, onRequest: [admitDomain, bodies.admit] },
    holding<FastifyRequest<OfDomain>>(async (request, reply) => {
      const query = queryOf(request, ['version'])
      const items = itemsOf(request.params.domain, versionOf(query.version), await imagesOf(request, limits))
      const results = await run(request, reply, items, false)
      return {
        results: results.map(({ domain, version, features }) => ({
          domain,
          version,
          features: Array.from(features, shortest),
        })),
      }
    }),
  )

  app.post(
    '/predict',
    {
      config: { scope: 'predict', accepts: ['multipart/form-data'], limitedBy: '--max-body' },
      bodyLimit: config.maxBody,
      onRequest: bodies.admit,
    },
    holding(async (request, reply) => {
      const k = topKOf(queryOf(request, ['top_k']).top_k)
      const parts = await imagesOf(request, limits, (name) => {
        if (name === null) throw new FacetError('bad_domain_id', 'The part has no name; it is the domain id.')
        requireDomain(request, registry, name)
      })
      const items = parts.map(({ name, bytes }) => ({ domain: name!, image: bytes }))
      const results = await run(request, reply, items, true)
      return { results: results.map((result) => prediction(result, k)) }
    }),
  )
}

/** An image among others, be it the only one, is told by its index; a body that is an image needs none, and a deadline that
 * passed is not one image's. */
function located(error: unknown, request: FastifyRequest): unknown {
  if (!(error instanceof FacetError) || error.code === 'deadline_exceeded') return error
  return !Buffer.isBuffer(request.body) && error.index === undefined ? error.at(0) : error
}

/** @throws FacetError `bad_domain_id`, `forbidden`, `unknown_domain` */
function requireDomain(request: FastifyRequest, registry: Domains, domain: string): void {
  checkDomainId(domain)
  checkDomain(request.caller, domain)
  if (!registry.has(domain)) throw unknownDomain(domain)
}

function itemsOf(domain: string, version: string | undefined, parts: Part[]): PredictItem[] {
  return parts.map(({ bytes }) => ({ domain, ...(version === undefined ? {} : { version }), image: bytes }))
}

function topKOf(text: string | undefined): number {
  return text === undefined ? DEFAULT_TOP_K : wholeNumber('top_k', text, 1, Number.MAX_SAFE_INTEGER)
}

function versionOf(text: string | undefined): string | undefined {
  return text === undefined ? undefined : checkVersion(text)
}

/** The `k` likeliest classes of one image; all of them where there are fewer. */
function prediction({ domain, version, labels, activation, logits }: PredictResult, k: number) {
  if (labels === null || logits === null) throw noHead(domain)
  const best = topK(activate(logits, activation), Math.min(k, labels.length))
  return {
    domain,
    version,
    predictions: best.map(({ index, score }) => ({ label: labels[index], index, score: shortest(score) })),
  }
}

/** Nine significant digits are enough to give a float32 back exactly. */
function shortest(value: number): number {
  return Number(value.toPrecision(9))
}

function serverTiming({ decodeMs, queueMs, inferenceMs }: PredictTimings): string {
  const entries = [
    ['decode', decodeMs],
    ['queue', queueMs],
    ['inference', inferenceMs],
  ] as const
  return entries.map(([name, ms]) => `${name};dur=${ms.toFixed(3)}`).join(', ')
}
