/** A family's slots as its manifest lists them. */

/** The adapter designs of Rebuffi, Bilen and Vedaldi (CVPR 2018, figure 2), smallest first. */
export const designs = ['feature', 'bn', 'series', 'parallel'] as const
export type Design = (typeof designs)[number]

/** A place in the trunk that a domain may adapt. */
export interface Slot {
  /**
   * The convolution's weight initializer without `.weight`, the normalisation's for a lone one, or
   * `slot<NN>`.
   */
  name: string
  kind: 'conv' | 'norm'
  /** Channels in and out (equal for a lone normalisation). */
  in: number
  out: number
  kernel: [number, number]
  stride: [number, number]
  /** Columns of the matrix `[out, columns]` a pack may give; 0 where the slot takes scale and bias only. */
  columns: number
}
