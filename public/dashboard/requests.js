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

/** Errors that an image has with every domain. */
const OF_IMAGES = new Set(['unsupported_media_type', 'undecodable_image', 'image_too_large', 'empty_body'])

/**
 * The parts that the error of a request settles: the one that it names, or every part that has the same image, of this
 * request or another, where the error is about that; or all of the request, where it names none of them.
 * @template {{ image: unknown }} P
 * @param {readonly P[]} asked the request's @param {{ code: string, index?: number | undefined }} error
 * @param {readonly P[]} all those of further requests too @returns {P[]} one or more
 */
export function refusedParts(asked, { code, index }, all) {
  const named = index === undefined ? undefined : asked[index]
  if (named === undefined) return [...asked]
  return OF_IMAGES.has(code) ? all.filter(({ image }) => image === named.image) : [named]
}

/** The durations of a `Server-Timing` field, ms. @param {string | null} field @returns {Record<string, number>} */
export function timingsOf(field) {
  /** @type {Record<string, number>} */
  const timings = {}
  for (const [, name, duration] of (field ?? '').matchAll(/([\w-]+);dur=([\d.]+)/g))
    if (name !== undefined) timings[name] = Number(duration)
  return timings
}
