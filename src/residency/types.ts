/** What residency shows to the parts above it. Types only. */

/** `resident`: in a bank row. `cold`: in the store, loads on demand. `loading`: on its way.
 * `failed`: its pack cannot be read; `failure` says why. `inactive`: no active version. */
export type ResidencyState = 'resident' | 'cold' | 'loading' | 'failed' | 'inactive'

/** The live memory account (design: sections 6 and 9). Bytes. */
export interface MemoryAccount {
  /** In all sessions of the engine. */
  trunk: number
  /** Bank rows in use, the base's included. */
  adapters: number
  /** Heads of the same versions. */
  heads: number
  /** Rows in use, and rows the bank may hold. */
  rows: { used: number; capacity: number }
  /** Weights of dedicated networks for the resident domains, same dtype. */
  dedicated: number
  /** `dedicated / (trunk + adapters + heads)`; larger is better. */
  saving: number
}
