/**
 * The thread that merges packs into dedicated networks: packs in, ONNX files out. It holds the trunk's weights while it
 * lives, and is ended when nothing is left to merge (`merging.ts`).
 */
import { readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { dirname, join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { decodeFloat16 } from '../bytes/float16.js'
import { dedicatedNetwork } from '../compiler/dedicated.js'
import type { BankDtype } from '../engine/plan.js'
import { packRow } from '../engine/row.js'
import { bankLayout } from '../manifest/layout.js'
import type { FamilyManifest } from '../manifest/manifest.js'
import { loadModel, saveModel } from '../onnx/onnx.js'
import type { Pack } from '../pack/pack.js'
import { readPack } from '../pack/read.js'

/** Given as `workerData`. */
export interface MergeOptions {
  manifest: FamilyManifest
  base: Pack
  /** Absolute path of the family's graph for batches of one domain and an f32 bank. */
  graph: string
  /** The numbers are those that the bank has, which may be rounded. */
  bankDtype: BankDtype
}

export interface ToMerge {
  id: number
  /** A pack of the family. */
  pack: Uint8Array
}

export type FromMerge = { id: number; network: Uint8Array } | { id: number; message: string }

/** As the native runtime's thread that opens the networks (native/src/dedicated.rs). */
const NICE = 5

const { manifest, base, graph, bankDtype } = workerData as MergeOptions
const port = parentPort!
// On Linux that is this thread's alone; elsewhere it would be the process's.
if (process.platform === 'linux') setPriority(NICE)
const layout = bankLayout(manifest)
const trunk = loadModel(readFileSync(graph), (location) => readFileSync(join(dirname(graph), location)))

function merge(pack: Uint8Array): Uint8Array {
  const { tensors } = packRow(readPack(pack, manifest), base, manifest, layout, bankDtype)
  const row = tensors.map((tensor) =>
    tensor instanceof Float32Array ? tensor : decodeFloat16(tensor).floats,
  )
  return saveModel(dedicatedNetwork(trunk, { manifest, layout }, row))
}

port.on('message', ({ id, pack }: ToMerge) => {
  let answer: FromMerge
  try {
    answer = { id, network: whole(merge(pack)) }
  } catch (error) {
    answer = { id, message: (error as Error).message }
  }
  port.postMessage(answer, 'network' in answer ? [answer.network.buffer as ArrayBuffer] : [])
})

/** The bytes in a buffer of their own. */
function whole(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes)
}
