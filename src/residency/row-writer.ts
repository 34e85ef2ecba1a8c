/**
 * Writes packs into reserved rows, over restarts of the engine.
 *
 * A restart empties every row but the base's. So when the engine goes down all reservations, residents and
 * references become void, at once; a write under way reports that its reservation is void, and the next write
 * waits until the engine is up.
 */
import type { Engine } from '../engine/engine.js'
import { draining, FacetError } from '../errors.js'
import type { Prepared } from './prepare.js'
import type { RowReservation, Rows } from './rows.js'

/** What residency needs of an engine. */
export type BankEngine = Pick<
  Engine,
  | 'rows'
  | 'trunks'
  | 'precision'
  | 'dedicatedNetworks'
  | 'hasDedicated'
  | 'state'
  | 'generation'
  | 'writeRow'
  | 'clear'
  | 'on'
  | 'off'
>

export class RowWriter {
  readonly #engine: BankEngine
  readonly #rows: Rows
  readonly #restarted: () => void
  /** Writes that wait until the engine is up. */
  readonly #paused: (() => void)[] = []
  #isUp = false
  #closed = false

  /** @param restarted called each time that the engine is up again, its rows empty */
  constructor(engine: BankEngine, rows: Rows, restarted: () => void) {
    this.#engine = engine
    this.#rows = rows
    this.#restarted = restarted
    engine.on('down', this.#down)
    engine.on('up', this.#up)
  }

  get isUp(): boolean {
    return this.#isUp
  }

  /** Lets writes go on. */
  resume(): void {
    this.#isUp = true
    this.#resumePaused()
  }

  /**
   * Writes a pack into a reserved row. False where the engine restarted meanwhile: the reservation is void.
   * @throws FacetError `draining` (503), or the engine's refusal of the tensors; the reservation is given
   * back then
   */
  async write(reservation: RowReservation, prepared: Prepared): Promise<boolean> {
    if (!this.#isUp) await new Promise<void>((resolve) => this.#paused.push(resolve))
    try {
      if (this.#closed) throw draining()
      if (!this.#rows.holds(reservation)) return false
      const tensors = await prepared.row()
      if (this.#closed) throw draining()
      if (!this.#rows.holds(reservation)) return false
      await this.#engine.writeRow(reservation.row, tensors)
      return this.#rows.holds(reservation)
    } catch (error) {
      if (!this.#rows.holds(reservation)) return false
      if (!(error instanceof FacetError) || error.code !== 'engine_restarting') {
        this.#rows.giveBack(reservation)
        throw error
      }
      // The engine's `down` is on its way; do not try again before its `up`.
      this.#down()
      return false
    }
  }

  /** Tells the engine that a row's content is no longer needed. */
  clear(row: number): void {
    if (this.#isUp) this.#engine.clear(row)
  }

  /** Listens to the engine no more; writes that wait for it fail with `draining`. */
  close(): void {
    this.#closed = true
    this.#engine.off('down', this.#down)
    this.#engine.off('up', this.#up)
    this.#resumePaused()
  }

  readonly #down = (): void => {
    if (!this.#isUp) return
    this.#isUp = false
    this.#rows.reset()
  }

  readonly #up = (): void => {
    this.#down()
    this.resume()
    this.#restarted()
  }

  #resumePaused(): void {
    for (const resume of this.#paused.splice(0)) resume()
  }
}
