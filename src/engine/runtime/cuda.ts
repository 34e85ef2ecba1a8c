/** ONNX Runtime's CUDA provider: what it is told, and what is said where it cannot be used. */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { libraryFolder } from './library.js'

/**
 * Options of the provider, by name, for a bank in the device's memory
 * (onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html).
 *
 * @param memory bytes that the provider may take, unbounded unless given
 * @param further options that beat these
 */
export function cudaOptions(
  id: number,
  { memory, tf32 = false }: { memory?: number; tf32?: boolean },
  further: Readonly<Record<string, string>> = {},
): [name: string, value: string][] {
  const options = {
    device_id: String(id),
    // The arena takes what a run lacks, and not twice as much as before.
    arena_extend_strategy: 'kSameAsRequested',
    // Trying all algorithms takes long for each new size of a batch, in the run that brings it.
    cudnn_conv_algo_search: 'HEURISTIC',
    use_tf32: tf32 ? '1' : '0',
    ...(memory !== undefined && { gpu_mem_limit: String(Math.floor(memory)) }),
    ...further,
  }
  return Object.entries(options)
}

const providerLibraries = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so']

/**
 * Why a graph cannot be opened on CUDA, with the remedy. The CUDA provider's libraries are not in the npm
 * package, so a start on a GPU can fail for want of them; onnxruntime's own message does not say so.
 *
 * @param reason what onnxruntime says
 */
export function cudaFailure(id: number, reason: string, cause?: unknown): Error {
  const target = `${process.platform}/${process.arch}`
  const folder = libraryFolder()
  const missing = providerLibraries.filter((name) => !existsSync(path.join(folder, name)))
  let remedy = `Both provider libraries are installed; check the NVIDIA driver, CUDA and cuDNN 9 of the version that they are made for, and that device ${id} exists (nvidia-smi). docs/gpu.md says which.`
  if (target !== 'linux/x64')
    remedy = `ONNX Runtime for Node.js has CUDA on linux/x64 only, not on ${target}.`
  else if (missing.length > 0)
    remedy = `Missing: ${missing.join(', ')}. Install them with 'npm run cuda:install' (it downloads them), or start with --device cpu.`
  return new Error(`cuda:${id} cannot be used: ${reason.trim()}. ${remedy}`, { cause })
}
