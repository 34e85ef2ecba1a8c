/**
 * Dedicated networks of the native lanes: opened in the add-on, and known here by their rows.
 *
 * A row has one as long as it holds what the network was made of. The add-on sees to that by itself; here the same is
 * noted, because whoever forms batches asks.
 */
import { type DedicatedNetworks, LaneGone, type OpenedNetwork, RequestFailed } from './lane-group.js'
import type { NativeEngine, NativeEvent } from '../native/addon.js'

/** A network that is being opened. The add-on reads and writes the arrays until it has answered. */
interface Opening {
  row: number
  network: Uint8Array
  pixels: Uint8Array
  features: Float32Array
  resolve(network: OpenedNetwork): void
  reject(error: Error): void
}

export class NativeDedicated implements DedicatedNetworks {
  readonly rows = new Set<number>()
  readonly #native: () => NativeEngine | undefined
  readonly #features: number
  readonly #opening = new Map<number, Opening>()
  #lastId = 0

  /** @param native undefined where no lane answers @param features length of the feature vector */
  constructor(native: () => NativeEngine | undefined, features: number) {
    this.#native = native
    this.#features = features
  }

  async open(row: number, network: Uint8Array, pixels: Uint8Array): Promise<OpenedNetwork> {
    const native = this.#native()
    const id = ++this.#lastId
    const features = new Float32Array(this.#features)
    try {
      if (!native?.openDedicated(id, row, network, pixels, features))
        throw new LaneGone('the native lanes are ending')
    } catch (error) {
      throw error instanceof LaneGone ? error : new RequestFailed((error as Error).message, { cause: error })
    }
    return new Promise((resolve, reject) => {
      this.#opening.set(id, { row, network, pixels, features, resolve, reject })
    })
  }

  drop(row: number): void {
    if (this.rows.delete(row)) this.#native()?.dropDedicated(row)
  }

  /** The row's content changes, and the add-on lets its network go. */
  forget(row: number): void {
    this.rows.delete(row)
  }

  receive(event: Extract<NativeEvent, { type: 'dedicated' | 'undedicated' }>): void {
    const { id } = event
    const opening = this.#opening.get(id)
    this.#opening.delete(id)
    if (opening === undefined) return
    const { row, features, resolve, reject } = opening
    if (event.type === 'undedicated') {
      reject(new RequestFailed(event.message))
      return
    }
    resolve({
      features,
      use: () => {
        const used = this.#native()?.useDedicated(id) ?? false
        if (used) this.rows.add(row)
        return used
      },
      discard: () => this.#native()?.discardDedicated(id),
    })
  }

  /** No lane answers any more. */
  close(reason: LaneGone): void {
    this.rows.clear()
    for (const { reject } of this.#opening.values()) reject(reason)
    this.#opening.clear()
  }
}
