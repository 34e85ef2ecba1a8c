/** What a mistyped name was probably meant to be. */

/** Changes of one character by which a similar text may differ; fewer in a short one. */
const MAX_CHANGES = 2
/** Texts that are looked at, and texts that are compared letter by letter, so that an error costs little. */
const MAX_LOOKED_AT = 10_000
const MAX_COMPARED = 500

/** The text of `known` that `mistyped` was probably meant to be, or null. */
export function similarText(mistyped: string, known: Iterable<string>): string | null {
  let best: string | null = null
  let most = Math.min(MAX_CHANGES, Math.floor(mistyped.length / 3))
  let lookedAt = 0
  let compared = 0
  for (const text of known) {
    if (most < 1 || compared === MAX_COMPARED || lookedAt++ === MAX_LOOKED_AT) break
    // A slip seldom changes both ends.
    if (text[0] !== mistyped[0] && text.at(-1) !== mistyped.at(-1)) continue
    if (Math.abs(text.length - mistyped.length) > most) continue
    compared++
    const changes = changesBetween(mistyped, text, most)
    if (changes > most) continue
    best = text
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
