/** The model repository extension: what its requests say, and how models are listed. */
import { FacetError } from '../errors.js'
import { type ModelName, modelName } from './model.js'
import { fieldsOf, malformed, parametersOf } from './request.js'

/** Parameters of a load request that are files of the model begin so; the rest is the client's choice. */
const FILE_PREFIX = 'file:'

/** What the listing needs to know of a domain. */
export interface ListedDomain {
  domain: string
  /** The active one; null where none is. */
  version: string | null
  hasClassifier: boolean
  /** Why it cannot be asked; empty where it can. */
  reason: string
}

/**
 * The file of a load request, base64 in UTF-8; undefined where it brings none. Its name is ignored, and so is the
 * configuration that Triton's clients must send with it.
 *
 * @throws FacetError `malformed_request` for more than one file
 */
export function fileOfLoad(request: unknown): Uint8Array | undefined {
  const parameters = parametersOf(fieldsOf(request, 'The request'), 'parameters')
  const files = Object.entries(parameters).filter(([name]) => name.startsWith(FILE_PREFIX))
  if (files.length > 1) throw malformed('A model is one file, its pack; the request has several.')
  const [, text] = files[0] ?? []
  if (text === undefined) return undefined
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  if (bytes instanceof Uint8Array) return bytes
  throw malformed('The file must be a base64 string.')
}

/** Whether a request for the index asks for models alone that are ready. @throws FacetError `malformed_request` */
export function wantsReady(request: unknown): boolean {
  const { ready } = fieldsOf(request, 'The request')
  if (ready === undefined || typeof ready === 'boolean') return ready === true
  throw malformed("'ready' must be true or false.")
}

/**
 * The domain that a model's name stands for where models are changed.
 *
 * @throws FacetError `bad_domain_id` for features, which come and go with their domain
 */
export function changedDomain({ domain, output }: ModelName): string {
  if (output === 'scores') return domain
  throw new FacetError('bad_domain_id', `Features come and go with their domain: name the model '${domain}'.`)
}

/** The models of a domain, as the index lists them. */
export function indexEntries({ domain, version, hasClassifier, reason }: ListedDomain) {
  const outputs = hasClassifier ? (['scores', 'features'] as const) : (['features'] as const)
  return outputs.map((output) => ({
    name: modelName({ domain, output }),
    version: version ?? '',
    state: reason === '' ? 'READY' : 'UNAVAILABLE',
    reason,
  }))
}
