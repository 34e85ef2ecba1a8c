/** How many parts go into a request for predictions, and what its answer says of the time. */

/** Parts and bytes of a request: below the service's `--max-images` and `--max-body` as they are by default. */
export const LIMITS = { parts: 32, bytes: 12e6 }

/**
 * Parts in groups, in order; each group keeps within the limits, or is one part.
 * @template {{ image: { size: number } }} P
 * @param {readonly P[]} parts @param {{ parts: number, bytes: number }} [limits] @returns {P[][]}
 */
export function groupsOf(parts, limits = LIMITS) {
  /** @type {P[][]} */
  const groups = []
  let bytes = 0
  for (const part of parts) {
    const group = groups.at(-1)
    bytes += part.image.size
    if (group && group.length < limits.parts && bytes <= limits.bytes) group.push(part)
    else {
      groups.push([part])
      bytes = part.image.size
    }
  }
  return groups
}

/** The durations of a `Server-Timing` field, ms. @param {string | null} field @returns {Record<string, number>} */
export function timingsOf(field) {
  /** @type {Record<string, number>} */
  const timings = {}
  for (const [, name, duration] of (field ?? '').matchAll(/([\w-]+);dur=([\d.]+)/g))
    if (name !== undefined) timings[name] = Number(duration)
  return timings
}
