/** What a head's logits mean to a person: scores, and the best of them. Pure functions. */
import type { Activation } from '../pack/pack.js'

/** Scores from logits: they sum to 1 (softmax), or each is a probability of its own (sigmoid). Stable. */
export function activate(logits: Float32Array, activation: Activation): Float32Array {
  return activation === 'softmax' ? softmax(logits) : logits.map(sigmoid)
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

/**
 * The `k` best scores, best first; equal scores in the order of their indices. All of them where there are
 * fewer than `k`.
 * @throws RangeError when `k` is not a positive integer.
 */
export function topK(scores: Float32Array, k: number): { index: number; score: number }[] {
  if (!Number.isInteger(k) || k < 1) throw new RangeError(`k must be a positive integer, not ${k}`)
  const best: { index: number; score: number }[] = []
  scores.forEach((score, index) => {
    if (best.length === k && score <= best[k - 1]!.score) return
    let place = best.length
    while (place > 0 && best[place - 1]!.score < score) place--
    best.splice(place, 0, { index, score })
    if (best.length > k) best.pop()
  })
  return best
}
