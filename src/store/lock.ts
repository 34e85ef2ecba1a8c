/**
 * One process per data folder.
 *
 * The lock is a Unix socket in `<data>/lock/` on which the holder listens. Whether the holder lives is then
 * the kernel's answer to a connection, and not a guess: it refuses at the instant the process is gone, SIGKILL
 * included, so a restarted service has the lock at once. Why not the usual ways: a heartbeat file (as
 * proper-lockfile keeps) stays locked until it is stale, seconds after a kill; a file with the process id lies
 * between containers that share a volume, where each holder is process 1 and a restarted one looks alive;
 * Node has no flock. Any process of the same kernel sees the socket, whatever its container. Between machines
 * on a network file system it does not hold: give a volume to one machine at a time.
 *
 * Taking over from a dead holder is free of races: sockets are numbered, and a newcomer that found the newest
 * one, `n`, dead links its own, already listening, as `n + 1`. A link is exclusive, so only one newcomer wins.
 * The newest socket is never removed, dead or alive: its number is what makes the next one exclusive.
 */
import { randomUUID } from 'node:crypto'
import { link, mkdir, open, readdir, unlink } from 'node:fs/promises'
import { createConnection, createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'

/** Attempts to take a lock that changes hands under us before giving up. */
const ATTEMPTS = 20
/** How long a living holder may take to say who it is; it holds the lock whether it answers or not. */
const ANSWER_MS = 1000
/** The kernel's limit on the path of a socket, less some room for the name. */
const SOCKET_PATH_BYTES = 100

/** Another process holds the folder. */
export class LockedError extends Error {
  /** Who, as the holder describes itself, such as `process 4711 on host a1b2`. */
  readonly holder: string

  constructor(holder: string) {
    super(`in use by ${holder}`)
    this.name = 'LockedError'
    this.holder = holder
  }
}

/**
 * Takes the lock kept in `folder`, which is created where it is missing.
 * @returns a function that gives it back.
 * @throws LockedError when a living process holds it; Node's errors where the folder cannot be written.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const handle = await open(folder, 'r')
  try {
    // A socket's path has about 100 bytes; Linux reaches a deep folder by the descriptor that is open on it.
    const short = Buffer.byteLength(folder) > SOCKET_PATH_BYTES - 40 ? `/proc/self/fd/${handle.fd}` : folder
    return await take(folder, short)
  } finally {
    await handle.close()
  }
}

async function take(folder: string, short: string): Promise<() => Promise<void>> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
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
  return names.filter((name) => /^[1-9][0-9]*$/.test(name)).map(Number)
}

/** True when the socket `name` became the newest, number `mine`; false when another newcomer was first. */
async function claim(folder: string, name: string, mine: number): Promise<boolean> {
  const path = join(folder, String(mine))
  try {
    await link(join(folder, name), path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    // ENOENT: the winner has tidied our socket away.
    if (code === 'EEXIST' || code === 'ENOENT') return false
    throw error
  }
  // A newcomer that slept since it looked could take a number that was used and removed in the meantime;
  // whoever used it left a higher one behind.
  if (Math.max(...(await numbers(folder))) > mine) {
    await unlink(path)
    return false
  }
  await removeAllBut(folder, String(mine))
  return true
}

async function removeAllBut(folder: string, kept: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name !== kept) await unlink(join(folder, name)).catch(ignoreMissing)
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
      // The lock does not keep a process alive that has nothing else to do.
      server.unref()
      resolve(server)
    })
  })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

/** Who listens at `path`; null when nobody does. */
function ask(path: string): Promise<string | null> {
  return new Promise((resolve) => {
    const connection = createConnection(path)
    let answer = ''
    const done = (holder: string | null): void => {
      connection.destroy()
      resolve(holder)
    }
    connection.setTimeout(ANSWER_MS, () => done('a process that does not answer'))
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
