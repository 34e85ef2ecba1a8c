/** A process that decodes, from the TypeScript sources. It is not given tap's own flags, which take seconds to load. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { type Child, startChild } from '../src/image/apart/process.js'

const loader = fileURLToPath(new URL('./loader/register.mjs', import.meta.url))

const flags = [`--import=${loader}`]

export function startDecoder(): Child {
  return startChild(flags)
}

/** Another one, whose standard error can be read. */
export function startDecoderAloud(): ChildProcessByStdio<Writable, Readable, Readable> {
  const entry = fileURLToPath(new URL('../src/image/apart/decoder.js', import.meta.url))
  return spawn(process.execPath, [...flags, entry], { stdio: 'pipe', env: {} })
}
