/** Every kind of slot in the engine, on either runtime: one run answers a batch of any domains as each is answered alone. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { randomPack } from '../bench/networks.js'
import type { BuildOptions } from '../src/compiler/build.js'
import { systemClock } from '../src/concurrency/clock.js'
import { Engine } from '../src/engine/engine.js'
import { packRow } from '../src/engine/row.js'
import type { Family } from '../src/family/family.js'
import { readFamily } from '../src/family/folder.js'
import { loadNative, nativeFile } from '../src/native/addon.js'
import { mobile } from './backbones.js'
import { Control } from './engine-rig.js'
import { Network } from './networks.js'
import { convTokens, transformer } from './token-networks.js'
import { build, distance, openTrunk, randomPixels } from './trunk.js'

const PACKS = 3
const noNative = !existsSync(nativeFile()) && 'it is not built: npm run native:build'

/** Convolutions of Facet's own operator, and one whose matrix is two factors, which that does not compute. */
function ownAndFactors(): Network {
  const net = new Network(10, {}, 8)
  const stem = net.relu(net.bn('a.bn', net.conv('a', 'image', [3, 16]), 16))
  const wide = net.relu(net.bn('b.bn', net.conv('b', stem, [16, 32], { stride: 2 }), 32))
  const factors = net.relu(net.bn('c.bn', net.conv('c', wide, [32, 32]), 32))
  net.linear('head', net.vector(net.conv('d', factors, [32, 16], { bias: true })), [16, 4])
  return net
}

const families: Record<string, { onnx: Uint8Array; options: Partial<BuildOptions> }> = {
  'pointwise factors': { onnx: mobile().onnx(), options: { rank: 3 } },
  'linear factors': { onnx: transformer.write().onnx, options: { rank: 2 } },
  'linear with whole matrices': { onnx: convTokens.write().onnx, options: { rank: 'full' } },
  normalisations: { onnx: transformer.write().onnx, options: { design: 'bn' } },
  'factors beside the own operator': { onnx: ownAndFactors().onnx(), options: { rank: 12 } },
}

async function start(t: Test, family: Family, runtime: 'stock' | 'native', bankDtype: 'f32' | 'f16') {
  const parts = runtime === 'native' ? { native: loadNative() } : new StockParts()
  const logger = pino({ level: 'silent' })
  const device = { kind: 'cpu' } as const
  const options = { family, bankDtype, device, threads: 1, logger, clock: systemClock, lanes: 1, ...parts }
  const engine = new Engine({ ...options, rows: PACKS + 1, bankMode: 'shared' })
  t.teardown(() => engine.stop())
  await engine.start()
  return engine
}

class StockParts {
  readonly #control = new Control()
  readonly createWorker = () => this.#control.createWorker()
}

for (const [name, { onnx, options }] of Object.entries(families))
  t.test(name, async (t) => {
    const built = await build(onnx, options)
    const dir = path.join(t.testdir(), 'family')
    const trunk = await openTrunk(built, dir)
    const family = await readFamily(dir)
    const { manifest, base, layout } = family
    if (name === 'factors beside the own operator') {
      t.ok(family.findGraph({ serves: 'any', bank: 'f32', own: true }))
      t.same(
        manifest.slots.map(({ rank }) => rank),
        [undefined, undefined, 12, undefined],
      )
    }
    const packs = [base, ...[1, 2, 3].map((seed) => randomPack(family, seed, 4))]
    const rows = [2, 0, 3, 1, 2, 3]
    const pixels = randomPixels(rows.length, manifest.input.height, 4)
    const expected = await trunk.run(packs, pixels, rows)
    const area = manifest.input.height * manifest.input.width * 3
    for (const runtime of ['stock', 'native'] as const)
      for (const bank of ['f32', 'f16'] as const)
        await t.test(`${runtime}, ${bank} bank`, { skip: runtime === 'native' && noNative }, async (t) => {
          const engine = await start(t, family, runtime, bank)
          for (const [row, pack] of packs.entries())
            if (row > 0) await engine.writeRow(row, packRow(pack, base, manifest, layout, bank))
          const run = (of: Uint8Array, rows: number[]) =>
            engine.run({ pixels: of.slice(), rows: Int32Array.from(rows) }, 1)
          const { features } = await run(pixels, rows)
          const allowed = bank === 'f32' ? 1e-4 : 2e-2
          t.ok(distance(features, expected) <= allowed, `${distance(features, expected)}`)
          for (const [index, row] of rows.entries()) {
            const alone = await run(pixels.subarray(index * area, (index + 1) * area), [row])
            const found = features.subarray(index * manifest.features, (index + 1) * manifest.features)
            t.ok(distance(found, alone.features) <= 1e-4, `image ${index} alone`)
          }
        })
  })
