/** The images in samples/, which were drawn for this project: each demo domain names what its images show. */
import { readdir, readFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import t from 'tap'
import { type Prediction, runService } from './service-rig.js'

const MOST_BYTES = 300_000
const TYPES: Record<string, string> = { '.png': 'image/png', '.jpg': 'image/jpeg' }
const { url } = await runService(t)
let bytes = 0

for (const domain of await readdir('samples')) {
  t.test(`${domain} names its samples`, async (t) => {
    for (const file of await readdir(join('samples', domain))) {
      const suffix = extname(file)
      const body = new Uint8Array(await readFile(join('samples', domain, file)))
      bytes += body.length
      const headers = { 'content-type': TYPES[suffix]! }
      const answer = await fetch(`${url}/v1/domains/${domain}/predict?top_k=1`, {
        method: 'POST',
        headers,
        body,
      })
      const { results } = (await answer.json()) as { results: Prediction[] }
      t.equal(results[0]?.predictions[0]?.label, basename(file, suffix), join(domain, file))
    }
  })
}

t.test('the samples are small files', async (t) => {
  t.ok(bytes > 0 && bytes < MOST_BYTES, `${bytes} bytes`)
})
