/** Numbers, times and names as people read them. */

/** Decimal units, as the documents use them. @param {number} bytes */
export function bytesText(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} B`
  const units = ['kB', 'MB', 'GB', 'TB']
  let value = bytes / 1000
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${threeDigits(value)} ${units[unit]}`
}

/** `0.52`, `3.1`, `57.6`, `143`. @param {number} value 0 or more */
export function threeDigits(value) {
  if (value === 0) return '0'
  if (value < 1) return value.toPrecision(2)
  return value.toFixed(value < 100 ? 1 : 0)
}

/** With thin groups of thousands: `12,345`. @param {number} value a whole number */
export function countText(value) {
  return value.toLocaleString('en')
}

/** `1 domain`, `18 domains`. @param {number} count @param {string} noun @param {string} [plural] */
export function counted(count, noun, plural = `${noun}s`) {
  return `${countText(count)} ${count === 1 ? noun : plural}`
}

/** A duration. @param {number} milliseconds */
export function millisecondsText(milliseconds) {
  if (milliseconds === 0) return '0 ms'
  if (milliseconds < 1000)
    return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 1 : 0)} s`
}

/** A score from 0 to 1 as a percentage; never rounded up to certainty. @param {number} score */
export function scoreText(score) {
  const percent = score * 100
  if (percent > 99.9 && percent < 100) return '> 99.9%'
  if (percent < 0.1 && percent > 0) return '< 0.1%'
  return `${percent.toFixed(1)}%`
}

/** The first 12 digits of a version, which is how people see it. @param {string} version SHA-256 in hex */
export function shortVersion(version) {
  return version.slice(0, 12)
}

/** The day of an ISO time; as it stands where it is none. @param {string} time */
export function dayText(time) {
  return /^\d{4}-\d\d-\d\d/.test(time) ? time.slice(0, 10) : time
}

/**
 * The accuracy that a card's metrics give, in percent, such as `95.4%`; null where they give none. Packs write it as
 * `accuracy`, in percent or as a part of 1.
 * @param {Record<string, unknown> | null | undefined} metrics
 */
export function accuracyText(metrics) {
  const accuracy = metrics?.accuracy
  if (typeof accuracy !== 'number' || !(accuracy >= 0 && accuracy <= 100)) return null
  return `${(accuracy <= 1 ? accuracy * 100 : accuracy).toFixed(1)}%`
}

/**
 * A domain id made of a file's name, `North fields (2).safetensors` to `north-fields-2`; empty where nothing is left.
 * @param {string} fileName
 */
export function domainIdOf(fileName) {
  return fileName
    .replace(/\.[^.]*$/, '')
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+|[-._]+$/g, '')
    .slice(0, 63)
}
