/**
 * The model repository extension: all models; a pack that comes as a file, in base64; and domains that stop being
 * served and are served again. These are changes of domains, with the rules and rights of `/v1`.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { free } from '../../../bytes/free.js'
import {
  changedDomain,
  fileOfLoad,
  indexEntries,
  type ListedDomain,
  wantsReady,
} from '../../../oip/repository.js'
import type { ChangeAction } from '../../../registry/options.js'
import type { DomainView } from '../../../registry/types.js'
import { checkDomain } from '../../access/auth.js'
import { decodeBase64 } from '../../bodies/base64.js'
import { inTurn } from '../../bodies/body.js'
import type { BodyBudget } from '../../bodies/budget.js'
import { parseJsonBody } from '../../bodies/json.js'
import type { AppDeps, Domains } from '../../exchange/deps.js'
import { sendLong, type Texts } from '../../exchange/long-answer.js'
import { missingDomain } from '../../exchange/missing-domain.js'
import { nameIn, type OfModel } from './found-model.js'
import { domainsInSteps, listingLimit } from './listing.js'

/** Clients send these bodies without a content type, or none at all. */
const body = { accepts: ['application/json', 'application/octet-stream'] as const, mayBeEmpty: true }
/** Bytes of a body without a file. */
const MAX_SMALL_BYTES = 16 * 1024

export function repositoryRoutes(app: FastifyInstance, deps: AppDeps, uploads: BodyBudget): void {
  const { registry, config } = deps

  app.post(
    '/repository/index',
    { config: { ...body, scope: 'predict' }, bodyLimit: MAX_SMALL_BYTES },
    async (request, reply) => {
      const onlyReady = wantsReady(await jsonOf(request))
      const text = indexText(registry, request.caller.domains, onlyReady)
      return sendLong(reply, text, listingLimit(request, reply, deps))
    },
  )

  const change = (audit: ChangeAction) => ({
    config: { ...body, scope: 'admin' as const, audit },
  })
  const admit = (request: FastifyRequest, _reply: FastifyReply, done: () => void) => {
    checkDomain(request.caller, changedDomain(nameIn(request)))
    done()
  }

  app.post<OfModel>(
    '/repository/models/:model/load',
    {
      config: { ...change('domain.load').config, limitedBy: '--max-pack' },
      bodyLimit: config.maxPack,
      onRequest: [admit, uploads.admit],
    },
    (request) =>
      uploads.hold(request, async () => {
        const { domain } = nameIn(request)
        const file = fileOfLoad(await jsonOf(request))
        const { version, family } = await (file === undefined
          ? load(request, domain)
          : put(request, domain, file))
        request.changed = { version, family }
        return { name: domain, load: true }
      }),
  )

  app.post<OfModel>(
    '/repository/models/:model/unload',
    { ...change('domain.unload'), bodyLimit: MAX_SMALL_BYTES, onRequest: admit },
    async (request) => {
      const { domain } = nameIn(request)
      await jsonOf(request)
      require(request, domain)
      request.changed = { version: registry.get(domain).version }
      await registry.deactivate(domain, {})
      return { name: domain, unload: true }
    },
  )

  /** Registers the pack, as PUT does. */
  const put = async (request: FastifyRequest, domain: string, file: Uint8Array): Promise<DomainView> => {
    const bytes = await inTurn(request, decodeBase64(Buffer.from(file.buffer, file.byteOffset, file.length)))
    free([request.body as Buffer])
    const { view } = await registry.put(domain, bytes, { activate: true }).finally(() => free([bytes]))
    return view
  }

  /** Makes the domain's active version resident; where none is active, its newest one is from now on. */
  const load = async (request: FastifyRequest, domain: string): Promise<DomainView> => {
    require(request, domain)
    const { version, versions } = registry.get(domain)
    if (version === null && versions.length > 0) return registry.activateNewest(domain)
    await registry.warm(domain)
    return registry.get(domain)
  }

  const require = (request: FastifyRequest, domain: string): void => {
    if (!registry.has(domain)) throw missingDomain(request, registry, domain)
  }
}

/** The body as JSON, whatever its content type says; an empty object where there is none. */
async function jsonOf(request: FastifyRequest): Promise<unknown> {
  const bytes = request.body as Buffer | undefined
  return bytes === undefined || bytes.length === 0 ? {} : inTurn(request, parseJsonBody(bytes))
}

/** The models of all domains, or of those in `only`, sorted by the domains' ids. */
function* indexText(registry: Domains, only: ReadonlySet<string> | null, onlyReady: boolean): Texts {
  yield '['
  let first = true
  for (const views of domainsInSteps(registry, only)) {
    const entries = views.flatMap((view) => indexEntries(listed(view)))
    const texts = entries
      .filter(({ state }) => !onlyReady || state === 'READY')
      .map((entry) => JSON.stringify(entry))
    yield (first || texts.length === 0 ? '' : ',') + texts.join()
    if (texts.length > 0) first = false
  }
  yield ']'
}

function listed({ domain, version, versions, family, residency, failure }: DomainView): ListedDomain {
  const meant = version === null ? versions : versions.filter(({ active }) => active)
  const reason =
    version === null
      ? 'no version is active'
      : residency === 'failed' || family === null
        ? (failure ?? 'its family is not served')
        : ''
  return { domain, version, hasClassifier: meant.some(({ classes }) => classes > 0), reason }
}
