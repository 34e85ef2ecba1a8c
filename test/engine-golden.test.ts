/**
 * The engine compared with PyTorch: the same pixels through an independent implementation
 * (`training/golden.py`).
 */
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { readSafetensors } from '../src/safetensors/safetensors.js'
import { readPack } from '../src/pack/read.js'
import { packRow } from '../src/engine/row.js'
import { family, relativeError, split, startEngine } from './engine-rig.js'

const { base, manifest, layout } = family
const golden = readSafetensors(await readFile('test/fixtures/golden/resnet26-half.safetensors'))
const bytesOf = (name: string) => new Uint8Array(golden.tensors.get(name)!.bytes)
const floats = (name: string) => new Float32Array(bytesOf(name).buffer)

const pixels = bytesOf('pixels')
const images = golden.tensors.get('pixels')!.shape[0]!
const domains = [...golden.tensors.keys()]
  .filter((name) => name.startsWith('features.'))
  .map((name) => name.slice('features.'.length))
/** The shipped packs have half precision. */
const tolerance = (domain: string) => (domain === 'base' ? 1e-4 : 1e-2)

t.ok(domains.includes('base') && domains.length >= 4, `golden domains: ${domains}`)

for (const bankDtype of ['f32', 'f16'] as const) {
  t.test(`features and logits of every golden domain are PyTorch's, ${bankDtype} bank`, async (t) => {
    const { engine } = await startEngine(t, { bankDtype })
    for (const [index, domain] of domains.entries()) {
      let row = 0
      if (domain !== 'base') {
        const pack = readPack(await readFile(`adapters/resnet26-half/${domain}.safetensors`), manifest)
        row = index + 1
        await engine.writeRow(row, packRow(pack, base, manifest, layout, bankDtype))
      }
      const result = await engine.run({ pixels: pixels.slice(), rows: new Int32Array(images).fill(row) }, 1)
      const allowed = bankDtype === 'f32' ? tolerance(domain) : 1e-2
      const answers = split(result)
      const logits = Float32Array.from(answers.flatMap(({ logits }) => [...logits!]))
      const errors = [
        relativeError(result.features, floats(`features.${domain}`)),
        relativeError(logits, floats(`logits.${domain}`)),
      ]
      t.ok(Math.max(...errors) < allowed, `${domain}: relative errors ${errors}`)
    }
  })
}
