/** Where onnxruntime-node keeps ONNX Runtime's library. Loads nothing. */
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/** The library itself: `libonnxruntime.so.1`, `libonnxruntime.1.30.0.dylib`, `onnxruntime.dll`. */
const LIBRARY = /^(lib)?onnxruntime(\.so(\.\d+)*|(\.\d+)*\.dylib|\.dll)$/

/** The folder of the library, and of the providers' libraries. */
export function libraryFolder(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node')
  return path.join(path.dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch)
}

/** Absolute path of the library. @throws Error where this platform has none */
export function libraryFile(): string {
  const folder = libraryFolder()
  const name = readdirSync(folder).find((name) => LIBRARY.test(name))
  if (name === undefined) throw new Error(`${folder} has no ONNX Runtime library`)
  return path.join(folder, name)
}
