/**
 * One process per data folder.
 *
 * The lock is a Unix socket in `<data>/lock/` on which the holder listens. Whether the holder lives is then
 * not a guess: the kernel refuses a connection from the moment the process is gone, after SIGKILL too, so a
 * restarted service gets the lock at once. The usual ways do not do this. A heartbeat file (as
 * proper-lockfile keeps) stays locked until it is stale, seconds after a kill. A file with the process id
 * misleads containers that share a volume: each holder is process 1 there, so a dead one looks alive. Node
 * has no flock. Every process of the same kernel reaches the socket, whatever its container. The lock does
 * not work between machines on a network file system: give a volume to one machine at a time.
 *
 * Two processes cannot both take over from a dead holder. Sockets are numbered; a process that finds the
 * newest one, `n`, dead links its own, which listens already, as `n + 1`. A link is exclusive, so one process
 * wins. The newest socket is never removed, dead or alive, because its number makes the next link exclusive.
 */
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { link, mkdir, open, readdir, unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'

/** Attempts to take the lock, which fail where other processes take it at the same time. */
const MAX_ATTEMPTS = 20
/** How long a living holder may take to say who it is, ms; it holds the lock whether it answers or not. */
const ANSWER_TIMEOUT_MS = 1000
/** The longest path of a socket; Linux allows 107 bytes. */
const MAX_SOCKET_PATH_BYTES = 100
/** Room for a socket's name, `/new-` and a UUID. */
const MAX_SOCKET_NAME_BYTES = 40

const NUMBER = /^[1-9][0-9]*$/
const NEW = /^new-[0-9a-f-]{36}$/

/** True for the name of a socket that a process makes in the folder of the lock. */
export function isLockName(name: string): boolean {
  return NUMBER.test(name) || NEW.test(name)
}

/** Another process holds the folder. */
export class LockedError extends Error {
  /** The holder as it describes itself, such as `process 4711 on host a1b2`. */
  readonly holder: string

  constructor(holder: string) {
    super(`in use by ${holder}`)
    this.name = 'LockedError'
    this.holder = holder
  }
}

/**
 * Takes the lock kept in `folder`, which is created where it is missing.
 * @returns a function that gives it back
 * @throws LockedError when a living process holds it; Node's errors where the folder cannot be written
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  // Through a link, the sockets of another folder would be removed.
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    // In a folder with a long path the sockets are reached by the folder's descriptor, which Linux gives a
    // short path.
    const isLong = Buffer.byteLength(folder) > MAX_SOCKET_PATH_BYTES - MAX_SOCKET_NAME_BYTES
    const short = isLong ? `/proc/self/fd/${handle.fd}` : folder
    return await take(folder, short)
  } finally {
    await handle.close()
  }
}

async function take(folder: string, short: string): Promise<() => Promise<void>> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const newest = Math.max(0, ...(await numbers(folder)))
    const holder = newest === 0 ? null : await ask(join(short, String(newest)))
    if (holder !== null) throw new LockedError(holder)

    const name = `new-${randomUUID()}`
    const server = await listen(join(short, name))
    let held = false
    try {
      held = await claim(folder, name, newest + 1)
      if (held) return () => close(server)
    } finally {
      if (!held) await close(server)
    }
  }
  throw new LockedError('other processes that start at the same time')
}

async function numbers(folder: string): Promise<number[]> {
  const names = await readdir(folder)
  return names.filter((name) => NUMBER.test(name)).map(Number)
}

/** True when the socket `name` became the newest, number `mine`; false when another process was first. */
async function claim(folder: string, name: string, mine: number): Promise<boolean> {
  const path = join(folder, String(mine))
  try {
    await link(join(folder, name), path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    // ENOENT: the winner has removed our socket.
    if (code === 'EEXIST' || code === 'ENOENT') return false
    throw error
  }
  // A process that was suspended since it listed the numbers could take one that was used and removed
  // meanwhile; then there is a higher one.
  if (Math.max(...(await numbers(folder))) > mine) {
    await unlink(path)
    return false
  }
  await removeSocketsBut(folder, String(mine))
  return true
}

/** Removes the sockets of other processes, and nothing that no such process made. */
async function removeSocketsBut(folder: string, kept: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const { name } = entry
    if (name === kept || !isLockName(name) || !entry.isSocket()) continue
    await unlink(join(folder, name)).catch(ignoreMissing)
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}

function listen(path: string): Promise<Server> {
  const identity = `process ${process.pid} on host ${hostname()}`
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => {
      connection.on('error', () => connection.destroy())
      connection.end(identity)
    })
    server.on('error', reject)
    server.listen(path, () => {
      // The lock alone does not keep the process running.
      server.unref()
      resolve(server)
    })
  })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

/** The process that listens at `path`; null where none does. */
function ask(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const connection = createConnection(path)
    let answer = ''
    const done = (holder: string | null): void => {
      connection.destroy()
      resolve(holder)
    }
    connection.setTimeout(ANSWER_TIMEOUT_MS, () => done('a process that does not answer'))
    connection.on('data', (bytes: Buffer) => {
      answer = (answer + bytes.toString('utf8')).slice(0, 200)
    })
    connection.on('end', () => done(answer === '' ? 'a process that does not say its name' : answer))
    connection.on('error', (error: NodeJS.ErrnoException) => {
      const dead = error.code === 'ECONNREFUSED' || error.code === 'ENOENT' || error.code === 'ENOTSOCK'
      done(dead ? null : `a process that cannot be asked (${error.code})`)
    })
  })
}
