/** Makes many synthetic packs: as a folder of shipped packs, as a filled store, or as bytes to register. */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../src/concurrency/clock.js'
import type { Family } from '../src/family/family.js'
import type { Pack } from '../src/pack/pack.js'
import { writePack } from '../src/pack/write.js'
import { describePack } from '../src/registry/opening.js'
import { nodeFs, type StoreFs } from '../src/store/fs.js'
import { LocalStore } from '../src/store/local.js'

export function domainName(index: number): string {
  return `d${String(index).padStart(4, '0')}`
}

/** Makes packs by number, each another. */
export interface Press {
  copy(number: number): Uint8Array
}

/** Makes different packs from one: the last two weights of a copy encode its number. */
export class PackPress implements Press {
  readonly pack: Pack
  readonly #bytes: Uint8Array

  constructor(family: Family, pack: Pack) {
    this.pack = pack
    this.#bytes = writePack(pack, family.manifest, { dtype: 'f16' })
  }

  /** Bytes of the copy with this number. @param number below 2^20 */
  copy(number: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#bytes)
    const view = new DataView(bytes.buffer)
    // Two float16 values with a fixed sign and exponent, whose 10-bit mantissas hold the number.
    view.setUint16(bytes.length - 2, 0x2400 | (number & 0x3ff), true)
    view.setUint16(bytes.length - 4, 0x2400 | (number >> 10), true)
    return bytes
  }
}

/** Writes `count` packs as `d0000.safetensors`, `d0001.safetensors`, ... into `dir`. */
export async function writeSeeds(dir: string, press: Press, count: number): Promise<void> {
  await mkdir(dir, { recursive: true })
  for (let i = 0; i < count; i++) await writeFile(join(dir, `${domainName(i)}.safetensors`), press.copy(i))
}

/**
 * A file system without fsync: a store that is thrown away needs none, and fsync of a thousand packs takes
 * minutes.
 */
const hastyFs: StoreFs = {
  ...nodeFs,
  async create(path) {
    return { ...(await nodeFs.create(path)), sync: async () => {} }
  },
  openFolder: async () => ({ sync: async () => {}, close: async () => {} }),
}

/**
 * Makes a data folder in which `count` domains are registered.
 *
 * @param packs number of different packs, which the domains have in turn
 * @param progress called with the number of domains that are registered
 */
export async function fillStore(
  dir: string,
  family: Family,
  press: Press,
  count: number,
  packs = count,
  progress: (done: number) => void = () => {},
): Promise<void> {
  const store = new LocalStore({ dir, fs: hastyFs, clock: systemClock })
  await store.open()
  const created = '2026-01-01T00:00:00.000Z'
  for (let i = 0; i < count; i++) {
    const bytes = press.copy(i % packs)
    const version = createHash('sha256').update(bytes).digest('hex')
    if (i < packs) await store.putBlob(version, bytes)
    const record = {
      domain: domainName(i),
      active: version,
      versions: [{ ...describePack(bytes, [family]), version, bytes: bytes.length, created }],
      pinned: false,
      deleted: false,
      updated: created,
    }
    await store.writeRecord(record, null)
    progress(i + 1)
  }
  await store.close()
}
