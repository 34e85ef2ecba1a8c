/**
 * The entry of a process that decodes images for the service (processes.ts), one after the other: jobs come and answers go
 * over descriptor 0, of which the service has the other end (launcher.ts).
 *
 * It watches its own CPU time, because nothing else ends a codec that decodes an image in one step of native code. Knows
 * no deadline: at that the service kills it.
 */
import { Socket } from 'node:net'
import { FacetError, internal } from '../../errors.js'
import { openImage } from '../decode.js'
import { tooLarge } from '../headers/failures.js'
import { FrameReader, frame } from './frames.js'
import type { Answer, Job } from './messages.js'
import { ignoreSignals } from './signals.js'

/** How often CPU time is looked at, ms. */
const WATCH_MS = 20
/** The service has read the header, and refused what is too large. */
const UNBOUNDED = {
  maxPixels: Number.POSITIVE_INFINITY,
  memory: Number.POSITIVE_INFINITY,
  cpuMs: Number.POSITIVE_INFINITY,
}
/** Characters of the text of a cause. */
const MAX_CAUSE = 4000
const NOTHING = new Uint8Array()

const jobs = new FrameReader<Job>((job, bytes) => void decode(job, bytes))
const service = new Socket({ fd: 0, readable: true, writable: true })
service.on('data', (chunk: Uint8Array) => jobs.take(chunk))
// The service has ended, or wants no more.
service.on('end', die)
service.on('error', die)
ignoreSignals()

async function decode({ input, cpuMs }: Job, bytes: Uint8Array): Promise<void> {
  const begin = process.cpuUsage()
  const watch = setInterval(() => {
    const { user, system } = process.cpuUsage(begin)
    if ((user + system) / 1000 <= cpuMs) return
    clearInterval(watch)
    const seconds = `${cpuMs / 1000} s`
    const error = tooLarge(`The image took more than ${seconds} of CPU time to decode, and was given up.`)
    answer({ ...refusal(error), last: true }, NOTHING, die)
  }, WATCH_MS)
  try {
    const image = await openImage(bytes, input, UNBOUNDED)
    const pixels = await image.decode()
    clearInterval(watch)
    answer({ ok: true }, pixels)
  } catch (error) {
    clearInterval(watch)
    answer(refusal(error instanceof FacetError ? error : internal(error)), NOTHING)
  }
}

function refusal({ code, message, cause }: FacetError): Extract<Answer, { ok: false }> {
  if (cause === undefined) return { ok: false, code, message }
  const text = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
  return { ok: false, code, message, cause: text.slice(0, MAX_CAUSE) }
}

function answer(head: Answer, body: Uint8Array, then: () => void = () => {}): void {
  const [start, rest] = frame(head, body)
  service.write(start)
  service.write(rest, then)
}

/** At once: `process.exit` would wait for the codec. */
function die(): void {
  process.kill(process.pid, 'SIGKILL')
}
