/**
 * Principals: who may call. Each has the hash of a bearer token, scopes, and possibly a list of domains.
 *
 * Only the SHA-256 of a token is kept. Tokens are long and random, so a plain hash is enough. Hashes are
 * compared in constant time. Several tokens may be valid at once, so that a token can be rotated. No token is given
 * twice: it would have the rights of one place only, and which one nobody could see.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { isDomainId } from '../../domain-id.js'

export const scopes = ['admin', 'predict', 'metrics'] as const
/** `admin`: everything. `predict`: predictions, embeddings, listings. `metrics`: `/metrics`. */
export type Scope = (typeof scopes)[number]

export interface Principal {
  /** Name in the logs. Two tokens of one caller may have the same. */
  id: string
  /** Where the token was given, such as `line 2` of the token file; for messages. */
  source: string
  /** SHA-256 of the token, 32 bytes. */
  digest: Buffer
  scopes: ReadonlySet<Scope>
  /** The domains it may use and see; null for all. */
  domains: ReadonlySet<string> | null
}

export interface TokenVariables {
  /** `FACET_ADMIN_TOKEN` */
  adminToken?: string | undefined
  /** `FACET_PREDICT_TOKEN` */
  predictToken?: string | undefined
}

/**
 * The principals of the environment variables: `admin` and `predict`.
 *
 * @throws Error that names the variable whose text cannot be a token, or both if they hold the same
 */
export function variablePrincipals({ adminToken, predictToken }: TokenVariables): Principal[] {
  const principals: Principal[] = []
  const add = (source: string, token: string | undefined, scope: Scope) => {
    if (token === undefined) return
    if (!/^[\x21-\x7e]+$/.test(token))
      throw new Error(
        `The ${scope} token (${source}) must be printable ASCII without spaces, and not empty; leave it unset for none`,
      )
    principals.push({ id: scope, source, digest: sha256(token), scopes: new Set([scope]), domains: null })
  }
  add('FACET_ADMIN_TOKEN', adminToken, 'admin')
  add('FACET_PREDICT_TOKEN', predictToken, 'predict')
  if (adminToken !== undefined && adminToken === predictToken)
    throw new Error(
      'FACET_ADMIN_TOKEN and FACET_PREDICT_TOKEN hold the same token: give each its own. The admin token may predict too.',
    )
  return principals
}

/**
 * Reads a token file: one JSON object per line, `{"id", "sha256", "scopes", "domains"?}`. Empty lines are
 * skipped. `sha256` is the hash of the token in hex; `domains` lists the domains a `predict` principal is
 * limited to.
 *
 * @param file its name, for messages
 * @param others the principals of other sources, whose tokens the file may not give again
 * @throws Error that lists every wrong line, or says that the file has no token. It never shows a hash.
 */
export function parseTokens(text: string, file: string, others: readonly Principal[] = []): Principal[] {
  const principals: Principal[] = []
  const problems: string[] = []
  const sources = new Map(others.map(({ digest, source }) => [digest.toString('hex'), source]))
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const source = `line ${index + 1}`
    const problem = (what: string) => problems.push(`${source}: ${what}`)
    const entry = parseObject(line)
    if (!entry) {
      problem('is not a JSON object')
      continue
    }
    const { id, sha256: hash, scopes: granted, domains, ...unknown } = entry
    const before = problems.length
    for (const key of Object.keys(unknown)) problem(`unknown field ${JSON.stringify(key)}`)
    if (typeof id !== 'string' || !/^[A-Za-z0-9._@-]{1,64}$/.test(id))
      problem('id must be 1 to 64 letters, digits or ._@-')
    if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/.test(hash)) problem('sha256 must be 64 hex digits')
    else if (sources.has(hash)) problem(`the same token as ${sources.get(hash)}: give each its own`)
    else sources.set(hash, source)
    if (!isListOf(granted, (item) => scopes.includes(item as Scope)))
      problem(`scopes must be a list of ${scopes.join(', ')}`)
    if (domains !== undefined && !isListOf(domains, isDomainId))
      problem('domains must be a list of domain ids')
    if (domains !== undefined && !(Array.isArray(granted) && granted.join() === 'predict'))
      problem('domains goes with the scope predict alone')
    if (problems.length > before) continue
    principals.push({
      id: id as string,
      source,
      digest: Buffer.from(hash as string, 'hex'),
      scopes: new Set(granted as Scope[]),
      domains: domains === undefined ? null : new Set(domains as string[]),
    })
  }
  if (problems.length > 0) throw new Error(`Token file ${file}: ${problems.join('; ')}`)
  // An empty file would leave every scope unguarded, and a file that is being written may be empty for a
  // moment.
  if (principals.length === 0)
    throw new Error(`Token file ${file}: it holds no token. Write one, or leave --token-file out for none.`)
  return principals
}

/**
 * The principal of a token, or null. Compares with every principal, so the time does not show which one
 * matched.
 */
export function identify(token: string, principals: readonly Principal[]): Principal | null {
  const digest = sha256(token)
  let found: Principal | null = null
  for (const principal of principals) if (timingSafeEqual(digest, principal.digest)) found = principal
  return found
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function parseObject(line: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null
  } catch {
    return null
  }
}

function isListOf(value: unknown, accepts: (item: string) => boolean): boolean {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((item) => typeof item === 'string' && accepts(item))
  )
}
