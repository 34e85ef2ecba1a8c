/** What a quiet domain is put beside in a fairness run. */
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { rowBytes } from '../../src/engine/bank-spec.js'
import { readFamily } from '../../src/family/folder.js'
import { packageFile } from '../../src/host/package.js'
import { randomPack } from '../networks.js'
import { domainName, PackPress, writeSeeds } from '../packs.js'
import { random } from '../random.js'
import type { FloodJob } from './flood.js'

export interface Image {
  type: string
  body: Uint8Array
}

export interface Scenario {
  /** Options of `facet serve`. */
  options: string[]
  quiet: { domain: string; image: Image; rate: number; regular: boolean }
  load: Omit<FloodJob, 'url'>
  /** The p99 may also exceed that without the load by one decode of the worst accepted image. */
  andDecode: boolean
  /** The load is more than the service can do: some of it must be refused. */
  overloads: boolean
  /** Deletes what was made for it. */
  end(): Promise<void>
}

export interface Rate {
  /** Requests of the quiet domain a second. */
  rate: number
  /** Images that take longest to decode. */
  worst: readonly Image[]
}

const QUIET = 'eurosat'
const FLOODING = 'sketch'
/** Shipped domains that the clients of long decodes ask for: none of them has more than a few requests. */
const OTHERS = ['sketch', 'aircraft', 'cifar100', 'flowers90', 'gtsrb', 'trashnet', 'ucmerced', 'omniglot']
const LOCAL = ['127.0.0.1']
/** Requests of the flood for each quiet one. */
const FLOOD_FACTOR = 100
const FLOOD_CONNECTIONS = 800
/** The quiet domain's, and those that read the metrics. */
const SPARE_CONNECTIONS = 16
const COLD_DOMAINS = 500
/** Rows of the bank beside the base's. */
const ROWS = 20
const noEnd = async () => {}

export const scenarios: Record<string, (of: Rate) => Promise<Scenario>> = {
  /** One domain sends a hundred times as many requests. */
  async flood({ rate }) {
    const image = await noise(64)
    return {
      // Flood and quiet domain share an address, and its bound is not what is measured.
      options: ['--max-connections-per-peer', String(FLOOD_CONNECTIONS + SPARE_CONNECTIONS)],
      quiet: { domain: QUIET, image, rate, regular: false },
      load: {
        domains: [FLOODING],
        images: [image],
        rate: rate * FLOOD_FACTOR,
        atOnce: FLOOD_CONNECTIONS,
        addresses: LOCAL,
      },
      ...{ andDecode: false, overloads: true, end: noEnd },
    }
  },

  /** 16 clients send progressive JPEGs of 12 megapixels for other domains, as fast as they are answered. */
  async photos({ rate }) {
    const photo = { type: 'image/jpeg', body: await photograph(4000, 3000, true) }
    return longDecodes(rate, [photo], 16)
  },

  /** Two clients send the accepted images that take longest to decode. */
  async worst({ rate, worst }) {
    return longDecodes(rate, worst, 2)
  },

  /** 500 clients, each a peer of its own, ask for 500 domains at random; the bank has room for 20. */
  async cold() {
    const dir = await mkdtemp(join(tmpdir(), 'facet-fairness-'))
    const family = await readFamily(packageFile('models/resnet26-half'))
    const press = new PackPress(family, randomPack(family, 1))
    await writeSeeds(dir, press, COLD_DOMAINS)
    await cp(packageFile(`adapters/resnet26-half/${QUIET}.safetensors`), join(dir, `${QUIET}.safetensors`))
    const { classes = 0 } = press.pack.head ?? {}
    const sizes = { layout: family.layout, dtype: 'f32' as const, features: family.manifest.features }
    const bytes = (1 + ROWS) * rowBytes(sizes, { adapter: 'whole', classes, halfHead: true })
    return {
      options: ['--adapters', dir, '--bank-memory', String(bytes)],
      quiet: { domain: QUIET, image: await noise(64), rate: 1, regular: true },
      load: {
        domains: Array.from({ length: COLD_DOMAINS }, (_, index) => domainName(index)),
        images: [await noise(64)],
        rate: null,
        atOnce: 500,
        addresses: Array.from({ length: 500 }, (_, n) => `127.0.${1 + Math.floor(n / 250)}.${1 + (n % 250)}`),
      },
      ...{ andDecode: true, overloads: true, end: () => rm(dir, { recursive: true }) },
    }
  },
}

async function longDecodes(rate: number, images: readonly Image[], atOnce: number): Promise<Scenario> {
  const image = { type: 'image/jpeg', body: await photograph(320, 240, false) }
  return {
    options: [],
    quiet: { domain: QUIET, image, rate, regular: false },
    load: { domains: OTHERS, images, rate: null, atOnce, addresses: LOCAL },
    ...{ andDecode: true, overloads: false, end: noEnd },
  }
}

/** A square PNG that does not compress. */
async function noise(side: number): Promise<Image> {
  const next = random(1)
  const raw = { width: side, height: side, channels: 3 } as const
  const pixels = Uint8Array.from({ length: side * side * 3 }, () => next() * 256)
  return { type: 'image/png', body: await sharp(pixels, { raw }).png().toBuffer() }
}

/** A JPEG with the detail of a photograph: coarse shapes with some noise. */
async function photograph(width: number, height: number, progressive: boolean): Promise<Buffer> {
  const next = random(2)
  const raw = { width: 40, height: 30, channels: 3 } as const
  const shapes = Uint8Array.from({ length: 40 * 30 * 3 }, () => next() * 256)
  const grain = { width, height, channels: 3, background: 'grey' } as const
  const layer = await sharp({ create: { ...grain, noise: { type: 'gaussian', mean: 128, sigma: 20 } } })
    .png({ compressionLevel: 0 })
    .toBuffer()
  return await sharp(shapes, { raw })
    .resize(width, height)
    .composite([{ input: layer, blend: 'soft-light' }])
    .jpeg({ quality: 85, progressive })
    .toBuffer()
}
