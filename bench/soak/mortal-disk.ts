/**
 * Loaded into the real service before anything else (`--import`): makes the process kill itself (SIGKILL)
 * right before one of its file operations. `KILL_AT_STEP` is the number of that operation, counted from the
 * first file that is created in the store's `tmp`. The first write to a file counts twice: before it, and
 * when half of its bytes are written. The process prints the name of the operation before it dies.
 */
import { writeSync } from 'node:fs'
import fs, { type FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { isMainThread } from 'node:worker_threads'

let left = Number(process.env.KILL_AT_STEP)
let uploading = false

function step(name: string): void {
  if (!uploading || --left > 0) return
  writeSync(1, `${JSON.stringify({ killed: name })}\n`)
  process.kill(process.pid, 'SIGKILL')
}

function mortal(file: FileHandle): FileHandle {
  const { sync, close } = file
  const write = file.write.bind(file) as (bytes: Uint8Array) => Promise<{ bytesWritten: number }>
  let whole = true
  const halves = async (bytes: Uint8Array) => {
    step('write')
    if (!whole) return write(bytes)
    whole = false
    const half = await write(bytes.subarray(0, Math.ceil(bytes.length / 2)))
    step('write, halfway')
    return half
  }
  file.write = halves as typeof file.write
  file.sync = async () => {
    step('sync')
    return sync.call(file)
  }
  file.close = async () => {
    step('close')
    return close.call(file)
  }
  return file
}

function mortalFolder(folder: FileHandle): FileHandle {
  const { sync } = folder
  folder.sync = async () => {
    step('sync of a folder')
    return sync.call(folder)
  }
  return folder
}

if (isMainThread) {
  const { open, rename, unlink } = fs
  fs.open = async (path, flags, mode) => {
    if (flags !== 'wx') return mortalFolder(await open(path, flags, mode))
    uploading ||= /[/\\]tmp[/\\]/.test(String(path))
    step('create')
    return mortal(await open(path, flags, mode))
  }
  fs.rename = async (from, to) => {
    step('rename')
    return rename(from, to)
  }
  fs.unlink = async (path) => {
    step('remove')
    return unlink(path)
  }
  syncBuiltinESMExports()
}
