/** Long answers are made in pieces: the same bytes, and nothing more once the client has left. */
import fc from 'fast-check'
import t from 'tap'
import { chunksOf } from '../src/http/exchange/long-answer.js'
import { embeddingText, listText, predictionText } from '../src/http/routes/v1/answers.js'
import type { PredictResult } from '../src/predict/predictor.js'
import { activate, topK } from '../src/predict/scores.js'
import { ManualClock } from './manual-clock.js'

const result = fc
  .array(fc.tuple(fc.string(), fc.float({ min: -9, max: 9, noNaN: true })), { minLength: 1, maxLength: 700 })
  .map(
    (classes): PredictResult => ({
      domain: 'a',
      version: '0'.repeat(64),
      labels: classes.map(([label]) => label),
      activation: 'softmax',
      logits: Float32Array.from(classes, ([, logit]) => logit),
      features: Float32Array.from(classes, ([, logit]) => logit),
    }),
  )
const short = (value: number) => Number(value.toPrecision(9))

t.test('an answer in pieces has the bytes of one that is made at once', (t) => {
  fc.assert(
    fc.property(fc.array(result, { maxLength: 3 }), fc.integer({ min: 1, max: 800 }), (results, k) => {
      const predictions = results.map(({ domain, version, labels, logits }) => ({
        domain,
        version,
        predictions: topK(activate(logits!, 'softmax'), k).map(({ index, score }) => {
          return { label: labels![index], index, score: short(score) }
        }),
      }))
      const features = results.map(({ domain, version, features }) => {
        return { domain, version, features: Array.from(features, short) }
      })
      const texts = [
        [...listText(results, (one) => predictionText(one, k))].join(''),
        [...listText(results, embeddingText)].join(''),
      ]
      return texts.every(
        (text, at) => text === JSON.stringify({ results: at === 0 ? predictions : features }),
      )
    }),
    { numRuns: 60 },
  )
  t.end()
})

t.test('nothing more is made for a client that has left', async (t) => {
  let made = 0
  function* texts() {
    for (; made < 1_000_000; made++) yield 'x'.repeat(1000)
  }
  const client = new AbortController()
  const limit = {
    principal: '',
    signal: client.signal,
    deadline: Number.POSITIVE_INFINITY,
    clock: new ManualClock(),
  }
  const chunks = chunksOf('first', texts(), limit)
  t.equal((await chunks.next()).value, 'first')
  t.ok((await chunks.next()).value!.length >= 65_536)
  client.abort()
  const before = made
  await t.rejects(chunks.next(), { code: 'client_closed' })
  t.equal(made, before)
  t.ok((await chunks.next()).done)
})
