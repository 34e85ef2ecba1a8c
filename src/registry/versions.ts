/** Rules about versions: which one a prefix names, whether a precondition holds, which are kept. */
import { short } from '../bytes/digest.js'
import { FacetError } from '../errors.js'
import type { VersionRecord } from '../store/store.js'
import type { Preconditions } from './types.js'

/** The fewest hex digits that may name a version. */
const MIN_PREFIX_DIGITS = 6

/**
 * The version of `versions` that `text` names: a full SHA-256, or a prefix of at least 6 hex digits.
 * @throws FacetError `unknown_version` (404), `ambiguous_version` (409)
 */
export function resolveVersion(
  domain: string,
  versions: readonly VersionRecord[],
  text: string,
): VersionRecord {
  if (!/^[0-9a-f]{6,64}$/.test(text)) {
    throw new FacetError(
      'unknown_version',
      `A version is named by ${MIN_PREFIX_DIGITS} to 64 lower-case hex digits of its SHA-256.`,
    )
  }
  const found = versions.filter(({ version }) => version.startsWith(text))
  if (found.length === 0)
    throw new FacetError('unknown_version', `Domain '${domain}' has no version ${short(text)}.`)
  if (found.length > 1) {
    throw new FacetError(
      'ambiguous_version',
      `${found.length} versions of domain '${domain}' begin with ${text}; give more digits.`,
    )
  }
  return found[0]!
}

/**
 * The preconditions of RFC 9110, section 13.1, for a domain: its entity tag is its active version, and `*`
 * matches where the domain exists.
 * @param active null where nothing is active or the domain does not exist
 * @throws FacetError `precondition_failed` (412)
 */
export function checkPreconditions(exists: boolean, active: string | null, pre: Preconditions): void {
  const { ifMatch, ifNoneMatch } = pre
  const state = !exists
    ? 'does not exist'
    : active === null
      ? 'has no active version'
      : `is at ${short(active)}`
  if (ifMatch !== undefined && !matches(ifMatch, exists, active))
    throw new FacetError('precondition_failed', `If-Match does not hold: the domain ${state}.`)
  if (ifNoneMatch !== undefined && matches(ifNoneMatch, exists, active))
    throw new FacetError('precondition_failed', `If-None-Match does not hold: the domain ${state}.`)
}

function matches(tags: readonly string[] | '*', exists: boolean, active: string | null): boolean {
  return tags === '*' ? exists : active !== null && tags.includes(active)
}

/**
 * The versions to keep: the oldest are dropped until `limit` are left. Those in `held` (active, just written)
 * stay. Shipped packs stay and do not count, because they take no room in the store.
 */
export function retained(
  versions: readonly VersionRecord[],
  limit: number,
  held: ReadonlySet<string | null>,
): VersionRecord[] {
  let over = versions.filter(({ seed }) => !seed).length - limit
  return versions.filter(({ version, seed }) => {
    if (over <= 0 || seed || held.has(version)) return true
    over--
    return false
  })
}
