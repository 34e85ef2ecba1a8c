/** A family's slots as its manifest lists them. */

/** The adapter designs of Rebuffi, Bilen and Vedaldi (CVPR 2018, figure 2), smallest first. */
export const designs = ['feature', 'bn', 'series', 'parallel'] as const
export type Design = (typeof designs)[number]

/** The kinds of slot, in the order in which a builder looks for them. */
export const slotKinds = ['depthwise', 'pointwise', 'conv', 'linear', 'norm'] as const
export type Kind = (typeof slotKinds)[number]

/** A place in the trunk that a domain may adapt. */
export interface Slot {
  /**
   * The layer's weight initializer without `.weight`, the normalisation's for a lone one, or `slot<NN>`.
   */
  name: string
  kind: Kind
  /** Channels in and out (equal for a lone normalisation). */
  in: number
  out: number
  kernel: [number, number]
  stride: [number, number]
  /** Columns of the matrix `[out, columns]`; 0 where the slot takes scale and bias only. */
  columns: number
  /** A pack gives the matrix as factors, `up [out, rank]` and `down [rank, columns]`. Absent: whole. */
  rank?: number
  /**
   * The family is compressed: its trunk holds `down [basis, columns]`, the same for all domains, and a pack gives
   * `up [out, basis]` alone. `columns` and `rank` stay those of the family that was compressed. Absent: not compressed.
   */
  basis?: number
  /**
   * The backbone has no normalisation behind the layer but a bias: its exporter folded it into the weights. Scale is 1
   * in the base, and in packs relative to what is folded in. Absent: false.
   */
  relative?: true
}
