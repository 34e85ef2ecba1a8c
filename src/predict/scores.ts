/** What a head's logits mean to a person: scores, and the best of them. Pure functions. */
import type { Activation } from '../pack/pack.js'

/** Scores from logits: they sum to 1 (softmax), or each is a probability of its own (sigmoid). Stable. */
export function activate(logits: Float32Array, activation: Activation): Float32Array {
  return activation === 'softmax' ? softmax(logits) : logits.map(sigmoid)
}

/** The likeliest class and its score; of equal ones the first. Two passes over the logits, and no copy of them. */
export function best(logits: Float32Array, activation: Activation): { index: number; score: number } {
  let index = 0
  for (let other = 1; other < logits.length; other++) if (logits[other]! > logits[index]!) index = other
  const largest = logits[index]!
  if (activation === 'sigmoid') return { index, score: Math.fround(sigmoid(largest)) }
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - largest)
  return { index, score: Math.fround(1 / sum) }
}

function softmax(logits: Float32Array): Float32Array {
  let largest = Number.NEGATIVE_INFINITY
  for (const logit of logits) if (logit > largest) largest = logit
  // Not `from`, which goes through an iterator and costs more than all the exponentials.
  const exponentials = new Float64Array(logits).map((logit) => Math.exp(logit - largest))
  let sum = 0
  for (const value of exponentials) sum += value
  return new Float32Array(exponentials.map((value) => value / sum))
}

function sigmoid(logit: number): number {
  if (logit >= 0) return 1 / (1 + Math.exp(-logit))
  const exponential = Math.exp(logit)
  return exponential / (1 + exponential)
}

/** A number for people and JSON: nine significant digits are enough to restore a float32 exactly. */
export function shortest(value: number): number {
  return Number(value.toPrecision(9))
}

/** Up to so many scores are kept in order one by one; more are sorted. */
const MAX_INSERTED = 16

/** The `k` best scores, as `topIndices` has them. */
export function topK(scores: Float32Array, k: number): { index: number; score: number }[] {
  return Array.from(topIndices(scores, k), (index) => ({ index, score: scores[index]! }))
}

/**
 * The indices of the `k` best scores, best first; equal scores in the order of their indices. All of them where there
 * are fewer than `k`. The time is of the order of classes x log k.
 *
 * @param scores at most 2^21
 * @throws RangeError when `k` is not a positive integer.
 */
export function topIndices(scores: Float32Array, k: number): Uint32Array {
  if (!Number.isInteger(k) || k < 1) throw new RangeError(`k must be a positive integer, not ${k}`)
  return k <= MAX_INSERTED ? inserted(scores, k) : sorted(scores, k)
}

function inserted(scores: Float32Array, k: number): Uint32Array {
  const best: { index: number; score: number }[] = []
  scores.forEach((score, index) => {
    if (best.length === k && score <= best[k - 1]!.score) return
    let place = best.length
    while (place > 0 && best[place - 1]!.score < score) place--
    best.splice(place, 0, { index, score })
    if (best.length > k) best.pop()
  })
  return Uint32Array.from(best, ({ index }) => index)
}

/**
 * Collects the keys of candidates, and when there are `2 k` keeps the best `k` of them. A key is a double that
 * holds score and index and sorts as they do, because doubles sort fastest.
 */
function sorted(scores: Float32Array, k: number): Uint32Array {
  const { length } = scores
  // Adding 0 makes -0 the 0 that it equals.
  const words = new Uint32Array(scores.map((score) => score + 0).buffer)
  const keys = new Float64Array(Math.min(length, 2 * k))
  let count = 0
  let least = -1
  for (let index = 0; index < length; index++) {
    const word = words[index]!
    // The bits of floats sort as whole numbers do, those of negative floats the other way round.
    const order = word >= 0x80000000 ? 0xffffffff - word : word + 0x80000000
    const key = order * length + (length - 1 - index)
    if (key < least) continue
    keys[count++] = key
    if (count < keys.length || count <= k) continue
    keys.sort()
    keys.copyWithin(0, count - k)
    count = k
    least = keys[0]!
  }
  const best = keys.subarray(0, count).sort().reverse().subarray(0, k)
  return new Uint32Array(best.map((key) => length - 1 - (key % length)))
}
