/**
 * What the log says when the service is up: what is served, from where, at which address, and a first command that
 * works where the service was started.
 */
import { readdir } from 'node:fs/promises'
import { isAbsolute, join, relative } from 'node:path'
import type { ServeConfig } from '../config/config.js'
import { BASE_FILE } from '../family/family.js'
import { isLoopbackHost } from '../http/access/loopback.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import type { DomainView } from '../registry/types.js'
import type { Service } from './service.js'

/** Domains that are looked at for one that answers. */
const MOST_LOOKED_AT = 1000
/** Names of images that need no quotes, neither in a shell nor in a form of curl. */
const PLAIN_IMAGE = /^[\w.-]+\.(avif|gif|jpe?g|png|tiff?|webp)$/i
const PLAIN_WORD = /^[\w%+,./:@=-]+$/

export async function startLine(
  { url, runtimes, registry, guarded }: Service,
  config: ServeConfig,
): Promise<Record<string, unknown>> {
  const { resident, ...others } = registry.counts()
  const [first] = runtimes
  const { provider, runtime, lanes } = first.execution
  return {
    url,
    family: each(runtimes.map(({ manifest }) => manifest.name)),
    design: each(runtimes.map(({ manifest }) => manifest.design)),
    device: provider,
    runtime,
    precision: each(runtimes.map(({ execution }) => execution.precision)),
    lanes,
    domains: Object.values(others).reduce((sum, count) => sum + count, resident),
    packs: registry.packCount(),
    resident,
    models: each(config.families),
    adapters: each(config.adapters),
    data: config.data,
    try: await firstCommand({
      url: reachable(url),
      domains: registry
        .list({ limit: MOST_LOOKED_AT })
        .domains.filter(({ domain }) => !registry.isBase(domain)),
      base: join(config.families[0], BASE_FILE),
      cwd: process.cwd(),
      predictToken: guarded('predict') ? tokenOf(config.predictToken, 'FACET_PREDICT_TOKEN') : null,
      adminToken: guarded('admin') ? tokenOf(config.adminToken, 'FACET_ADMIN_TOKEN') : null,
      changes: guarded('admin') || isLoopbackHost(config.host),
    }),
  }
}

/** One value, or the values of each family. */
function each<T>(values: readonly T[]): T | readonly T[] {
  return values.length === 1 ? values[0]! : values
}

export interface Situation {
  url: string
  /** All that are served, the base included. */
  domains: readonly Pick<DomainView, 'domain' | 'version' | 'residency' | 'classes'>[]
  /** The base's pack: any domain of the family may be registered with it. */
  base: string
  /** The folder that the command will be run in. */
  cwd: string
  /** The variable that holds the token a request needs; null where it needs none. */
  predictToken: string | null
  adminToken: string | null
  /** Whether domains can be registered at all. */
  changes: boolean
}

/** A command for a shell: an image for a domain that has one in `samples/`; or else one to fill in; or a first pack. */
export async function firstCommand(situation: Situation): Promise<string> {
  const { url, domains, base, cwd, predictToken, adminToken, changes } = situation
  const served = domains.filter(
    ({ domain, version, residency }) => domain !== BASE_DOMAIN && version !== null && residency !== 'failed',
  )
  const [classifier] = served.filter(({ classes }) => classes > 0)
  const sample = await sampleOf(served, cwd)
  const curl = (token: string | null, ...words: string[]) =>
    ['curl', ...(token === null ? [] : ['--oauth2-bearer', `$${token}`]), ...words.map(quoted)].join(' ')
  if (sample)
    return curl(predictToken, '-F', `image=@${sample.image}`, `${url}/v1/domains/${sample.domain}/predict`)
  if (classifier)
    return curl(predictToken, '-F', 'image=@IMAGE.jpg', `${url}/v1/domains/${classifier.domain}/predict`)
  if (served[0])
    return curl(predictToken, '-F', 'image=@IMAGE.jpg', `${url}/v1/domains/${served[0].domain}/embed`)
  if (!changes) return curl(predictToken, `${url}/v1/family`)
  const near = relative(cwd, base)
  const pack = near.startsWith('..') || isAbsolute(near) ? base : near
  return curl(adminToken, '-T', pack, `${url}/v1/domains/my-domain`)
}

/** The first domain with a classifier and an image in `samples/<domain>/`. */
async function sampleOf(
  domains: Situation['domains'],
  cwd: string,
): Promise<{ domain: string; image: string } | undefined> {
  const files = async (folder: string) => (await readdir(join(cwd, folder)).catch(() => [])).sort()
  const there = new Set(await files('samples'))
  for (const { domain, classes } of domains) {
    if (classes === 0 || !there.has(domain)) continue
    const image = (await files(`samples/${domain}`)).find((file) => PLAIN_IMAGE.test(file))
    if (image !== undefined) return { domain, image: `samples/${domain}/${image}` }
  }
  return undefined
}

function tokenOf(token: string | undefined, variable: string): string {
  return token === undefined ? 'TOKEN' : variable
}

/** A service that listens on all addresses is reached at loopback. */
function reachable(url: string): string {
  return url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:')
}

/** For a POSIX shell. */
function quoted(word: string): string {
  return PLAIN_WORD.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}
