/** What residency shows to the rooms above it. Types only. */

/** `resident`: in a bank row. `cold`: in the store, loaded on demand. `loading`: being loaded.
 * `failed`: its pack cannot be read; `failure` says why. `inactive`: the domain has no active version. */
export type ResidencyState = 'resident' | 'cold' | 'loading' | 'failed' | 'inactive'

/** What is resident now, and what dedicated networks for the same domains would take. Bytes. */
export interface MemoryAccount {
  /** The trunk's weights, in all sessions of the engine. */
  trunk: number
  /** What resident versions have in the slots themselves, the base included: scales, biases and matrices. */
  adapters: number
  /** Heads of the resident versions. */
  heads: number
  /** Dedicated networks that are open for the versions with the most traffic. */
  specialised: { networks: number; bytes: number }
  /** Rows in use, and rows of the bank. */
  rows: { used: number; capacity: number }
  /** Weights of a dedicated network for each resident active version. */
  dedicated: number
  /** `dedicated / (trunk + adapters + heads + specialised)`; larger is better. */
  saving: number
  /** Resident active versions, the base's included, from which on `saving` is 1 or more; infinite where an adapter
   * takes as much as a network. */
  breakEven: number
  /** Where `saving` is below 1: why, in words. */
  note?: string
}

/** The sums over several families, each with its own trunk. */
export interface TotalMemory
  extends Pick<MemoryAccount, 'trunk' | 'adapters' | 'heads' | 'specialised' | 'dedicated' | 'saving'> {
  /** Bytes that adapters and heads of all of them may take. */
  capacity: number
}
