/** The model that a path of `/v2` names: its domain, the version that is meant, and what is told of it. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../../errors.js'
import { type ModelFacts, type ModelName, modelName, parseModelName } from '../../../oip/model.js'
import type { DomainView } from '../../../registry/types.js'
import { checkDomain } from '../../access/auth.js'
import type { AppDeps, Domains } from '../../exchange/deps.js'
import { missingDomain } from '../../exchange/missing-domain.js'

/** The parameters of a path: a model, and perhaps one of its versions. */
export type OfModel = { Params: { model: string; version?: string } }

/** A version of a model that can be asked for. */
export interface FoundModel {
  name: ModelName
  /** SHA-256 hex. */
  version: string
  view: DomainView
  facts: ModelFacts
}

/**
 * An `onRequest` hook: the caller may use the model's domain, and there is one.
 *
 * @throws FacetError `bad_domain_id`, `forbidden`, `unknown_domain`
 */
export function admitModel(registry: Domains) {
  return (request: FastifyRequest, _reply: FastifyReply, done: () => void): void => {
    const { domain } = nameIn(request)
    checkDomain(request.caller, domain)
    if (!registry.has(domain)) throw missingDomain(request, registry, domain)
    done()
  }
}

/** @throws FacetError `bad_domain_id` */
export function nameIn(request: FastifyRequest): ModelName {
  return parseModelName((request.params as OfModel['Params']).model)
}

/**
 * @throws FacetError `unknown_domain` also for the classifier of a domain that has none; `unknown_version`,
 * `no_active_version`, `ambiguous_version`; `domain_failed` where its family is not served
 */
export function foundModel(
  request: FastifyRequest,
  { registry, families, config }: Pick<AppDeps, 'registry' | 'families' | 'config'>,
): FoundModel {
  const name = nameIn(request)
  const { domain, output } = name
  const view = registry.get(domain)
  const { version } = registry.pack(domain, (request.params as OfModel['Params']).version)
  const meant = view.versions.find((entry) => entry.version === version)!
  if (output === 'scores' && meant.classes === 0) throw noClassifier(name)
  const family = families.find(({ manifest }) => manifest.name === meant.family)?.manifest
  if (family === undefined)
    throw new FacetError('domain_failed', view.failure ?? `The family of model '${domain}' is not served.`)
  const facts = {
    ...name,
    versions: versionsOf(view),
    family: family.name,
    input: family.input,
    length: output === 'features' ? family.features : meant.classes,
    maxBatch: config.maxImages,
  }
  return { name, version, view, facts }
}

function noClassifier({ domain }: ModelName): FacetError {
  const features = modelName({ domain, output: 'features' })
  return new FacetError(
    'unknown_domain',
    `Domain '${domain}' has no classifier, and so there is no model of its name; its features are the model '${features}'.`,
  )
}

/** The active one first, then the newest. */
function versionsOf({ version: active, versions }: DomainView): string[] {
  const others = versions.map(({ version }) => version).filter((version) => version !== active)
  return [...(active === null ? [] : [active]), ...others.reverse()]
}
