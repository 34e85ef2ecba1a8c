/**
 * Draws a family with random weights and a few packs for it: `node families.js NETWORK FOLDER` writes
 * `FOLDER/family` and `FOLDER/sources`.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writePack } from '../../src/pack/write.js'
import type { Family } from '../../src/family/family.js'
import { makeFamily, randomBackbone, randomPack } from '../networks.js'
import { makeResnet50 } from './resnet50.js'

/** As many as the shipped family has, of which the race makes more by noise. */
const SOURCES = 13

const networks: Record<string, (dir: string) => Promise<Family>> = {
  full: (dir) => makeFamily(randomBackbone(), dir),
  resnet50: makeResnet50,
}

const [network, folder] = process.argv.slice(2) as [string, string]
const make = networks[network]
if (!make) throw new Error(`no network ${network}; there are ${Object.keys(networks).join(', ')}`)
const family = await make(join(folder, 'family'))
const sources = join(folder, 'sources')
await mkdir(sources, { recursive: true })
for (let index = 0; index < SOURCES; index++) {
  const pack = writePack(randomPack(family, 100 + index), family.manifest, { dtype: 'f16' })
  await writeFile(join(sources, `source${String(index).padStart(2, '0')}.safetensors`), pack)
}
