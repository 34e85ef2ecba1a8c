/**
 * Which device runs the trunk: the session's provider entry, and what to tell people when it cannot load.
 *
 * The CUDA provider's libraries are not in the npm package (design: section 4), so a start on a GPU can fail
 * for want of them; ONNX Runtime's own message does not say so.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import type { EngineInit } from './messages.js'

type Device = EngineInit['device']

const cudaLibraries = ['libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so']

/** As `cpu` or `cuda:0`. */
export function providerName(device: Device): string {
  return device.kind === 'cpu' ? 'cpu' : `cuda:${device.id}`
}

/** The one entry of the session's `executionProviders`. */
export function providerEntry(device: Device): { name: string; deviceId?: number } {
  return device.kind === 'cpu' ? { name: 'cpu' } : { name: 'cuda', deviceId: device.id }
}

/**
 * A start failure in words that name the remedy.
 * @param folder where the provider libraries must lie; found by itself unless given
 */
export function startFailure(device: Device, error: unknown, folder = libraryFolder()): Error {
  const reason = (error instanceof Error ? error.message : String(error)).trim()
  if (device.kind === 'cpu') return new Error(`the trunk cannot be loaded: ${reason}`, { cause: error })
  const target = `${process.platform}/${process.arch}`
  const missing = cudaLibraries.filter((name) => !existsSync(path.join(folder, name)))
  let remedy = `Both provider libraries are installed; check the NVIDIA driver, CUDA 12, cuDNN 9 and that device ${device.id} exists (nvidia-smi).`
  if (target !== 'linux/x64')
    remedy = `ONNX Runtime for Node.js has CUDA on linux/x64 only, not on ${target}.`
  else if (missing.length > 0)
    remedy = `Missing: ${missing.join(', ')}. Install them with 'npm run cuda:install' (it downloads them), or start with --device cpu.`
  return new Error(`${providerName(device)} cannot be used: ${reason}. ${remedy}`, { cause: error })
}

function libraryFolder(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node')
  return path.join(path.dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch)
}
