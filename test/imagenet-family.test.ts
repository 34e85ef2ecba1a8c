/**
 * The shipped ImageNet family answers for the samples what its checkpoint answers in PyTorch. The golden file was
 * written by `python training/imagenet.py --golden`.
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import t from 'tap'
import { type Prediction, runService } from './service-rig.js'

/**
 * Half precision of the weights, and pixels that libvips and PIL resize some levels apart: 0.1 on a drawing of thin
 * lines, below 0.05 elsewhere.
 */
const MAX_SCORE_DIFFERENCE = 0.12

const TYPES: Record<string, string> = { '.png': 'image/png', '.jpg': 'image/jpeg' }
const golden = JSON.parse(readFileSync('test/fixtures/golden/efficientnet-lite0.json', 'utf8')) as Record<
  string,
  [label: string, score: number][]
>
const { url } = await runService(t, ['--family', 'models/efficientnet-lite0'])

async function predict(sample: string): Promise<Prediction> {
  const response = await fetch(`${url}/v1/domains/base/predict?top_k=1000`, {
    method: 'POST',
    headers: { 'content-type': TYPES[extname(sample)]! },
    body: new Uint8Array(await readFile(join('samples', sample))),
  })
  return ((await response.json()) as { results: Prediction[] }).results[0]!
}

for (const [sample, likely] of Object.entries(golden))
  t.test(`the base's answer for ${sample} is the checkpoint's`, async (t) => {
    const { predictions } = await predict(sample)
    t.equal(predictions.length, 1000)
    const scores = new Map(predictions.map(({ label, score }) => [label, score]))
    for (const [label, score] of likely) {
      const difference = Math.abs(scores.get(label)! - score)
      t.ok(difference <= MAX_SCORE_DIFFERENCE, `${label}: ${scores.get(label)} for ${score}`)
    }
  })

t.test('classes are those of ImageNet, in their order', async (t) => {
  const of = async (sample: string) => {
    const [first] = (await predict(sample)).predictions
    return [first!.index, first!.label]
  }
  t.same(await of('flowers90/oxeye daisy.jpg'), [985, 'daisy'])
  t.same(await of('dtd10/cobwebbed.jpg'), [815, 'spider web'])
  t.same(await of('trashnet/cardboard.jpg'), [478, 'carton'])
})
