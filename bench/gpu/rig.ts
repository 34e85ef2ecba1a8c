/** What the steps of `npm run bench:gpu` measure on: a family, packs, images, and engines on a device. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { EngineOptions } from '../../src/engine/engine.js'
import { adapterBytes } from '../../src/engine/bank-spec.js'
import type { Device } from '../../src/engine/runtime/runtime.js'
import type { Family } from '../../src/family/family.js'
import { readFamily } from '../../src/family/folder.js'
import { availableCores } from '../../src/host/cpu-quota.js'
import { packageFile } from '../../src/host/package.js'
import { loadNative } from '../../src/native/addon.js'
import type { Pack } from '../../src/pack/pack.js'
import { dedicatedOf, makeFamily, randomBackbone, randomImages, randomPack } from '../networks.js'
import { privateBytes } from '../processes.js'
import { random } from '../random.js'
import { BankSide } from '../speed/bank-side.js'
import { DedicatedFleet } from '../speed/dedicated.js'

/** How much is measured. */
export interface Scale {
  device: Device
  /** Of a comparison. */
  seconds: number
  /** Domains of the bank, and how many of them have a dedicated session too. */
  domains: number
  dedicated: number
  maxBatch: number
  /** For a machine without a GPU: the shipped small families, on the CPU. */
  rehearsal: boolean
}

/** Batches in flight: while one runs, the next is there. */
export const IN_FLIGHT = 2

export class Rig {
  readonly scale: Scale
  readonly family: Family
  readonly packs: readonly Pack[]
  readonly images: Uint8Array[]
  readonly next = random(41)
  readonly #network: (pack: Pack) => Uint8Array
  #bank: BankSide | undefined
  #fleet: DedicatedFleet | undefined
  /** Bytes of the device that the dedicated sessions took, each run once. */
  fleetBytes = 0

  private constructor(scale: Scale, family: Family, network: (pack: Pack) => Uint8Array) {
    this.scale = scale
    this.family = family
    this.packs = Array.from({ length: scale.domains }, (_, domain) => randomPack(family, domain))
    this.images = randomImages(family, 64)
    this.#network = network
  }

  /** The paper's network at full width with random weights. @param dir for its files */
  static async full(scale: Scale, dir: string): Promise<Rig> {
    const small = () => readFamily(packageFile('models/resnet26-half'))
    const family = scale.rehearsal ? await small() : await makeFamily(randomBackbone(), join(dir, 'full'))
    return new Rig(scale, family, await dedicatedOf(family))
  }

  /** The shipped ImageNet family, with random packs. */
  static async imagenet(scale: Scale): Promise<Rig> {
    const family = await readFamily(packageFile('models/efficientnet-lite0'))
    return new Rig(scale, family, await dedicatedOf(family))
  }

  /** The bank in the device's memory with all packs, which steps share. It computes as its rivals do (`arithmeticOf`). */
  async bank(): Promise<BankSide> {
    this.#bank ??= await this.open({})
    return this.#bank
  }

  /**
   * A bank of its own for one step, which closes it, in the device's memory. Row d + 1 has pack d; one row more is free.
   * @param rows of domains; all unless given
   */
  open(options: Partial<EngineOptions>, rows = this.packs.length): Promise<BankSide> {
    const { device, maxBatch } = this.scale
    const size = { layout: this.family.layout, dtype: options.bankDtype ?? 'f32' } as const
    // As much as these rows take, and some for heads.
    const memory = (rows + 2) * adapterBytes(size, 'whole') + 2 ** 24
    const tf32 = arithmeticOf(device) === 'tf32'
    const own = { bankMode: 'device', native: loadNative(), warmBatch: maxBatch, memory } as const
    const shared = { rows: rows + 2, lanes: 1, threads: availableCores(), device, deviceOptions: { tf32 } }
    const how = { ...shared, ...own, ...options }
    return BankSide.start(this.family, this.packs.slice(0, rows), how)
  }

  /** The same rows in the host's memory: what onnxruntime-node offers. Each run copies those of its domains. */
  stock(): Promise<BankSide> {
    const { device } = this.scale
    const how = { rows: this.packs.length + 2, lanes: 1, threads: availableCores(), device }
    return BankSide.start(this.family, this.packs, { ...how, bankMode: 'compact' })
  }

  /** The answers to compare with: the CPU's. */
  cpu(): Promise<BankSide> {
    const how = { rows: this.packs.length + 2, lanes: 1, threads: availableCores() }
    return BankSide.start(this.family, this.packs, how)
  }

  /** Dedicated sessions, one a domain, in four threads. */
  async fleet(): Promise<DedicatedFleet> {
    if (this.#fleet) return this.#fleet
    const { device, dedicated } = this.scale
    const workers = Math.min(4, dedicated)
    const threads = device.kind === 'cpu' ? Math.max(1, Math.floor(availableCores() / workers)) : 1
    const before = deviceBytes(device)
    const fleet = new DedicatedFleet({ workers, threads, spinning: false, device })
    this.#fleet = fleet
    await fleet.open(dedicated, (domain) => this.#network(this.packs[domain]!))
    const [image] = this.images
    for (let domain = 0; domain < dedicated; domain++) await fleet.run(domain, image!.slice(), this.dims(1))
    this.fleetBytes = deviceBytes(device) - before
    return fleet
  }

  /** `[N, H, W, 3]` */
  dims(images: number): number[] {
    const { height, width } = this.family.manifest.input
    return [images, height, width, 3]
  }

  /** Pixels of so many images. */
  pixels(count: number): Uint8Array {
    const length = this.images[0]!.length
    const pixels = new Uint8Array(count * length)
    for (let at = 0; at < count; at++) pixels.set(this.images[at % this.images.length]!, at * length)
    return pixels
  }

  /** Rows of a batch whose images are of so many domains at random. */
  rows(batch: number, domains: number): number[] {
    return Array.from({ length: batch }, () => 1 + Math.floor(this.next() * domains))
  }

  async close(): Promise<void> {
    await this.#bank?.close()
    await this.#fleet?.close()
  }
}

/**
 * What products are computed in where nothing else is said: by the stock runtime and by dedicated sessions, on a GPU with
 * ONNX Runtime's default. The bank that is compared with them does the same.
 */
export function arithmeticOf(device: Device): 'tf32' | 'float32' {
  return device.kind === 'cuda' ? 'tf32' : 'float32'
}

/** Bytes in use on the GPU; without one, private bytes of this process. */
export function deviceBytes(device: Device): number {
  if (device.kind === 'cpu') return privateBytes(process.pid)
  return Number(smi(device.id, 'memory.used')) * 2 ** 20
}

export function describeDevice(device: Device): string {
  return device.kind === 'cpu' ? 'cpu' : smi(device.id, 'name,driver_version,memory.total')
}

function smi(id: number, query: string): string {
  const args = [`--query-gpu=${query}`, '--format=csv,noheader,nounits', `--id=${id}`]
  return execFileSync('nvidia-smi', args, { encoding: 'utf8' }).trim()
}

export function powers(upTo: number): number[] {
  return Array.from({ length: Math.floor(Math.log2(upTo)) + 1 }, (_, power) => 2 ** power)
}
