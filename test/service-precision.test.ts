/** The service in 8 bits: it says so, and answers as in float32 but for rounding. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { type Prediction, runService } from './service-rig.js'

const image = readFileSync('samples/eurosat/River.jpg')

async function ask(url: string): Promise<Prediction> {
  const response = await fetch(`${url}/v1/domains/eurosat/predict?top_k=1`, {
    method: 'POST',
    headers: { 'content-type': 'image/jpeg' },
    body: new Uint8Array(image),
  })
  t.equal(response.status, 200)
  const { results } = (await response.json()) as { results: Prediction[] }
  return results[0]!
}

t.test('a service says its precision, and its answers differ by rounding alone', async (t) => {
  const { url: exact } = await runService(t)
  const { url: coarse } = await runService(t, ['--precision', 'int8'])
  for (const [url, precision] of [
    [exact, 'fp32'],
    [coarse, 'int8'],
  ] as const) {
    const { execution } = (await (await fetch(`${url}/v1/family`)).json()) as { execution: object }
    t.match(execution, { precision })
    const metrics = await (await fetch(`${url}/metrics`)).text()
    t.match(metrics, new RegExp(`facet_build_info\\{.*precision="${precision}"`))
  }
  const [wanted, found] = [await ask(exact), await ask(coarse)]
  t.equal(found.version, wanted.version, 'the same pack answers')
  t.equal(found.predictions[0]!.label, wanted.predictions[0]!.label)
  const apart = Math.abs(found.predictions[0]!.score - wanted.predictions[0]!.score)
  t.ok(apart > 0 && apart < 0.1, `scores differ by ${apart}`)
})
