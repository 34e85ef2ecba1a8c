/**
 * The data plane: images in, predictions or features out. Results keep the order of the images, and one bad
 * image fails the whole request.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { checkDomainId } from '../../../domain-id.js'
import { FacetError } from '../../../errors.js'
import type { PredictItem } from '../../../predict/predictor.js'
import { checkDomain } from '../../access/auth.js'
import { type Images, imagesOf, isOneImage, type MediaType, type Part } from '../../bodies/body.js'
import type { FormPart } from '../../bodies/multipart.js'
import type { BodyBudget } from '../../bodies/budget.js'
import type { AppDeps, Domains } from '../../exchange/deps.js'
import { missingDomain } from '../../exchange/missing-domain.js'
import { checkVersion, queryOf, wholeNumber } from '../../exchange/parameters.js'
import { type PredictionDeps, predictFor } from '../../exchange/prediction.js'
import { sendFeatures, sendPredictions } from './answers.js'

/** Classes in an answer that names no `top_k`. */
const DEFAULT_TOP_K = 5
/** Bytes of the longest plain field of a form that is taken for a parameter. */
const MAX_FIELD_BYTES = 100
const imageTypes: readonly MediaType[] = [
  'image/*',
  'application/octet-stream',
  'multipart/form-data',
  'application/json',
]

type OfDomain = { Params: { domain: string } }

export function predictRoutes(
  app: FastifyInstance,
  deps: Pick<AppDeps, 'registry'> & PredictionDeps,
  bodies: BodyBudget,
): void {
  const { registry, config } = deps
  const limits = { parts: config.maxImages }
  const route = { scope: 'predict', accepts: imageTypes, limitedBy: '--max-body' } as const

  /** Runs before the body is read: no bytes are read for a domain that does not exist. */
  const admitDomain = (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    const { domain } = request.params as OfDomain['Params']
    requireDomain(request, registry, domain)
    done()
  }

  /** Counts the body until the handler has ended, also where the client left earlier. */
  const holdingBody = <Request extends FastifyRequest>(
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
    try {
      const predicted = await predictFor(request, reply, { items, needHead }, deps)
      if (needHead) deps.predictionLog?.record(request.id, predicted.results)
      return predicted
    } catch (error) {
      throw withIndex(error, request)
    }
  }

  app.post<OfDomain>(
    '/domains/:domain/predict',
    {
      config: { ...route, query: ['top_k', 'version'] },
      bodyLimit: config.maxBody,
      onRequest: [admitDomain, bodies.admit],
    },
    holdingBody<FastifyRequest<OfDomain>>(async (request, reply) => {
      const { parts, fields } = await imagesOf(request, limits, { isField: isParameter })
      const k = topKOf(parameter(request, fields, 'top_k'))
      const version = versionOf(parameter(request, fields, 'version'))
      const items = parts.map((part) => itemOf(request.params.domain, version, part))
      const { results, limit } = await run(request, reply, items, true)
      return sendPredictions(reply, results, k, limit)
    }),
  )

  app.post<OfDomain>(
    '/domains/:domain/embed',
    {
      config: { ...route, query: ['version'] },
      bodyLimit: config.maxBody,
      onRequest: [admitDomain, bodies.admit],
    },
    holdingBody<FastifyRequest<OfDomain>>(async (request, reply) => {
      const { parts, fields } = await imagesOf(request, limits, { isField: isParameter })
      noParameter(fields, 'top_k', 'features have no order to choose from')
      const version = versionOf(parameter(request, fields, 'version'))
      const items = parts.map((part) => itemOf(request.params.domain, version, part))
      const { results, limit } = await run(request, reply, items, false)
      return sendFeatures(reply, results, limit)
    }),
  )

  app.post(
    '/predict',
    {
      config: { ...route, accepts: ['multipart/form-data'], query: ['top_k'] },
      bodyLimit: config.maxBody,
      onRequest: bodies.admit,
    },
    holdingBody(async (request, reply) => {
      const { parts, fields } = await imagesOf(request, limits, {
        // A domain may have the name of a parameter.
        isField: (part) => isParameter(part) && !registry.has(part.name!),
        accept: ({ name }) => {
          if (name === null)
            throw new FacetError('bad_domain_id', 'The part has no name; it is the domain id.')
          requireDomain(request, registry, name)
        },
      })
      noParameter(fields, 'version', 'each domain has its own')
      const k = topKOf(parameter(request, fields, 'top_k'))
      const items = parts.map((part) => itemOf(part.name!, undefined, part))
      const { results, limit } = await run(request, reply, items, true)
      return sendPredictions(reply, results, k, limit)
    }),
  )
}

/**
 * The predictor gives no index to the error of an only image. Clients get one all the same if the body was a
 * list; not if the body itself was the image, and not for a missed deadline, which is the whole request's.
 */
function withIndex(error: unknown, request: FastifyRequest): unknown {
  if (!(error instanceof FacetError) || error.code === 'deadline_exceeded') return error
  return error.index === undefined && !isOneImage(request) ? error.at(0) : error
}

/** @throws FacetError `bad_domain_id`, `forbidden`, `unknown_domain` */
function requireDomain(request: FastifyRequest, registry: Domains, domain: string): void {
  checkDomainId(domain)
  checkDomain(request.caller, domain)
  if (!registry.has(domain)) throw missingDomain(request, registry, domain)
}

function itemOf(domain: string, version: string | undefined, { bytes }: Part): PredictItem {
  return version === undefined ? { domain, image: bytes } : { domain, version, image: bytes }
}

/** A plain field of a form in which a client has put a parameter, as the query has it. */
function isParameter({ name, file, bytes }: FormPart): boolean {
  return !file && bytes.length <= MAX_FIELD_BYTES && (name === 'top_k' || name === 'version')
}

/** @throws FacetError `bad_parameter` where the query and the form both have it */
function parameter(
  request: FastifyRequest,
  fields: Images['fields'],
  name: 'top_k' | 'version',
): string | undefined {
  const inQuery = queryOf<'top_k' | 'version'>(request)[name]
  const inForm = fields.get(name)
  if (inQuery === undefined || inForm === undefined) return inQuery ?? inForm
  throw new FacetError('bad_parameter', `'${name}' is given in the query and in the form; give it once.`)
}

/** @throws FacetError `bad_parameter` where the form has a parameter that the route does not read */
function noParameter(fields: Images['fields'], name: string, why: string): void {
  if (fields.has(name))
    throw new FacetError('bad_parameter', `This route reads no form field '${name}': ${why}.`)
}

function topKOf(text: string | undefined): number {
  return text === undefined ? DEFAULT_TOP_K : wholeNumber('top_k', text, 1, Number.MAX_SAFE_INTEGER)
}

function versionOf(text: string | undefined): string | undefined {
  return text === undefined ? undefined : checkVersion(text)
}
