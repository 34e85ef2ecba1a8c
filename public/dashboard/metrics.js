/** The text format of Prometheus, as far as the service writes it; and what two readings of it say together. */

/**
 * @typedef {{ labels: Record<string, string>, value: number }} Sample
 * @typedef {Map<string, Sample[]>} Metrics samples by name
 * @typedef {Map<number, number>} Buckets observations up to each bound, the last one infinite
 */

/**
 * @param {string} text
 * @param {(name: string) => boolean} wanted which names are kept
 * @returns {Metrics}
 */
export function parseMetrics(text, wanted) {
  /** @type {Metrics} */
  const metrics = new Map()
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const end = line.search(/[{ ]/)
    const name = line.slice(0, end)
    if (end < 0 || !wanted(name)) continue
    const labels = line[end] === '{' ? labelsAt(line, end + 1) : { labels: {}, end }
    const value = numberOf(line.slice(labels.end).trim().split(' ', 1)[0] ?? '')
    const samples = metrics.get(name) ?? []
    samples.push({ labels: labels.labels, value })
    metrics.set(name, samples)
  }
  return metrics
}

/** `name="value",...}` from a position on. @param {string} line @param {number} at */
function labelsAt(line, at) {
  /** @type {Record<string, string>} */
  const labels = {}
  const label = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/y
  label.lastIndex = at
  let end = at
  for (let found = label.exec(line); found !== null; found = label.exec(line)) {
    labels[/** @type {string} */ (found[1])] = unescaped(/** @type {string} */ (found[2]))
    end = label.lastIndex
  }
  return { labels, end: end + 1 }
}

/** @param {string} value */
function unescaped(value) {
  return value.replace(/\\(.)/g, (_, mark) => (mark === 'n' ? '\n' : mark))
}

/** @param {string} text */
function numberOf(text) {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  return text === '-Inf' ? Number.NEGATIVE_INFINITY : Number(text)
}

/** The sum of a metric over all its samples that fit; 0 where there are none.
 * @param {Metrics} metrics @param {string} name @param {(labels: Record<string, string>) => boolean} [fits] */
export function sumOf(metrics, name, fits = () => true) {
  let sum = 0
  for (const { labels, value } of metrics.get(name) ?? []) if (fits(labels)) sum += value
  return sum
}

/** The sums of a metric by a label's values. @param {Metrics} metrics @param {string} name @param {string} label
 * @param {(labels: Record<string, string>) => boolean} [fits] @returns {Map<string, number>} */
export function sumsBy(metrics, name, label, fits = () => true) {
  const sums = new Map()
  for (const { labels, value } of metrics.get(name) ?? []) {
    const key = labels[label]
    if (key !== undefined && fits(labels)) sums.set(key, (sums.get(key) ?? 0) + value)
  }
  return sums
}

/** A histogram's buckets, over all its labels. @param {Metrics} metrics @param {string} name @returns {Buckets} */
export function bucketsOf(metrics, name) {
  /** @type {Buckets} */
  const buckets = new Map()
  for (const { labels, value } of metrics.get(`${name}_bucket`) ?? []) {
    const bound = numberOf(labels.le ?? '')
    buckets.set(bound, (buckets.get(bound) ?? 0) + value)
  }
  return new Map([...buckets].sort(([a], [b]) => a - b))
}

/** What was added between two readings. @param {Buckets} before @param {Buckets} after @returns {Buckets} */
export function bucketsBetween(before, after) {
  return new Map([...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]))
}

/**
 * The value below which a part of the observations lie, by straight lines within buckets, as Prometheus reckons it;
 * null where there are none. In the last bucket it is the bound below, since that bucket has none above.
 * @param {Buckets} buckets @param {number} part from 0 to 1
 */
export function quantileOf(buckets, part) {
  const entries = [...buckets]
  const total = entries.at(-1)?.[1] ?? 0
  if (total <= 0) return null
  const rank = part * total
  let below = 0
  let counted = 0
  for (const [bound, count] of entries) {
    if (count >= rank) {
      if (bound === Number.POSITIVE_INFINITY) return below
      const share = count === counted ? 0 : (rank - counted) / (count - counted)
      return below + (bound - below) * share
    }
    below = bound
    counted = count
  }
  return below
}
