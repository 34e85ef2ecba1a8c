/** The rule for domain ids. Ids become file names of the store, labels of metrics and segments of URLs. */
import { FacetError } from './errors.js'
import { quoted } from './shown-text.js'

const pattern = /^[a-z0-9][a-z0-9._-]{0,62}$/

/** The rule in words, for messages. */
export const domainIdRule = '1 to 63 of a-z 0-9 . _ - and the first a letter or digit'

export function isDomainId(id: string): boolean {
  return pattern.test(id)
}

/** Returns a valid id unchanged. @throws FacetError `bad_domain_id` (400) */
export function checkDomainId(id: string): string {
  if (isDomainId(id)) return id
  throw new FacetError('bad_domain_id', `${quoted(id)} is not a domain id: ${domainIdRule}.`)
}

/** Changes of one character by which a similar id may differ; fewer in a short id. */
const MAX_CHANGES = 2
/** Ids that are looked at, and ids that are compared letter by letter, so that an error costs little. */
const MAX_LOOKED_AT = 10_000
const MAX_COMPARED = 500

/** The id that `mistyped` was probably meant to be, or null. */
export function similarDomain(mistyped: string, ids: Iterable<string>): string | null {
  let best: string | null = null
  let most = Math.min(MAX_CHANGES, Math.floor(mistyped.length / 3))
  let lookedAt = 0
  let compared = 0
  for (const id of ids) {
    if (most < 1 || compared === MAX_COMPARED || lookedAt++ === MAX_LOOKED_AT) break
    // A slip seldom changes both ends.
    if (id[0] !== mistyped[0] && id.at(-1) !== mistyped.at(-1)) continue
    if (Math.abs(id.length - mistyped.length) > most) continue
    compared++
    const changes = changesBetween(mistyped, id, most)
    if (changes > most) continue
    best = id
    most = changes - 1
  }
  return best
}

/**
 * Characters to insert, leave out or replace to make one text of the other (Levenshtein's distance), from the positions
 * `i` and `j` on; Infinity where they are more than `most`. Few branches: of texts that differ most end at once.
 */
function changesBetween(one: string, other: string, most: number, i = 0, j = 0): number {
  while (i < one.length && j < other.length && one.charCodeAt(i) === other.charCodeAt(j)) {
    i++
    j++
  }
  if (i === one.length || j === other.length) {
    const rest = one.length - i + other.length - j
    return rest > most ? Number.POSITIVE_INFINITY : rest
  }
  if (most === 0) return Number.POSITIVE_INFINITY
  const replaced = changesBetween(one, other, most - 1, i + 1, j + 1)
  const leftOut = changesBetween(one, other, most - 1, i + 1, j)
  const inserted = changesBetween(one, other, most - 1, i, j + 1)
  return 1 + Math.min(replaced, leftOut, inserted)
}
