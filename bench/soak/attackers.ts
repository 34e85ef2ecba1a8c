/**
 * Attackers beside the honest load of a soak, as a process of their own: each sends one kind of request that is meant
 * to cost the service much more than its sender, over and over, from other loopback addresses than the honest load.
 * They count the answers; whether the honest load suffers is the soak's to judge.
 */
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { answer } from '../processes.js'
import {
  avifOfManyFrames,
  flatAvif,
  jpegOfManyScans,
  jpegOfSlowProfile,
  jsonOfObjects,
  largeJpeg,
  packOfManyTensors,
  widePng,
} from './attack-bodies.js'
import { multipart } from './requests.js'

export interface AttackJob {
  url: string
  /** A domain that exists. */
  domain: string
  /** An ordinary image. */
  image: Uint8Array
}

/** Answers by attack and status; `none` where the connection ended without one. */
export type AttackCount = Record<string, Record<string, number>>

/** Attackers come from here, honest clients from 127.0.0.1. */
const ADDRESSES = ['127.0.0.2', '127.0.0.3', '127.0.0.4']
/** Milliseconds that a request which is never completed is held. */
const HOLD_MS = 3000
/** Milliseconds after which an attacker that was not answered gives up. */
const PATIENCE_MS = 15_000
const MIB = 2 ** 20

/** Sends one round of an attack; resolves with the statuses of its answers. */
type Attack = () => Promise<string[]>

class Attackers {
  readonly #job: AttackJob
  readonly #agents: Agent[]
  readonly #counts: AttackCount = {}
  #stopped = false
  #running: Promise<unknown> = Promise.resolve()
  #turn = 0

  constructor(job: AttackJob) {
    this.#job = job
    this.#agents = ADDRESSES.map(
      (localAddress) => new Agent({ keepAlive: true, maxSockets: 64, localAddress }),
    )
  }

  async start(): Promise<void> {
    const attacks = await this.#attacks()
    const attacker = async ([name, attack]: [string, Attack]) => {
      const counts: Record<string, number> = {}
      this.#counts[name] = counts
      while (!this.#stopped) {
        for (const status of await attack()) counts[status] = (counts[status] ?? 0) + 1
        // A refusal at once must not become a flood of the attacker's own processor.
        await sleep(20)
      }
    }
    this.#running = Promise.all(Object.entries(attacks).map(attacker))
  }

  async stop(): Promise<AttackCount> {
    this.#stopped = true
    await this.#running
    for (const agent of this.#agents) agent.destroy()
    return this.#counts
  }

  async #attacks(): Promise<Record<string, Attack>> {
    const { domain, image } = this.#job
    const path = `/v1/domains/${domain}/predict`
    const [photo, scans, manyScans] = await Promise.all([
      largeJpeg(),
      jpegOfManyScans(7000, 7000, 90),
      jpegOfManyScans(2000, 2000, 400),
    ])
    const [avif, frames, profile, wide, tall, interlaced] = [
      await flatAvif(6000, 6000),
      await avifOfManyFrames(1000, 1000, 20),
      await jpegOfSlowProfile(),
      widePng(30_000, 1500),
      widePng(100, 400_000),
      widePng(6000, 6000, true),
    ]
    const [json, pack] = [jsonOfObjects(5_000_000), packOfManyTensors(20_000)]
    const all = Array.from({ length: 64 }, () => ({ name: domain, bytes: image }))
    const list = multipart(all)
    const send =
      (body: Uint8Array, type = 'application/octet-stream', to = path, method = 'POST') =>
      () =>
        this.#send(method, to, type, body).then((status) => [status])
    const several = (attack: Attack, times: number) => async () =>
      (await Promise.all(Array.from({ length: times }, attack))).flat()
    return {
      'photos of 12 megapixels': several(send(photo), 8),
      'JPEG of 90 scans': send(scans),
      'JPEG of 400 scans': send(manyScans),
      'flat AVIF': several(send(avif), 2),
      'AVIF of 20 frames': several(send(frames), 2),
      'profile of many steps': several(send(profile), 2),
      'wide PNG': several(send(wide), 2),
      'tall PNG': send(tall),
      'interlaced PNG': several(send(interlaced), 2),
      'JSON of millions of values': send(json, 'application/json'),
      'all labels of 64 images': send(list.body, list.type, `/v1/predict?top_k=100000`),
      'features of 64 images': send(list.body, list.type, `/v1/domains/${domain}/embed`),
      'pack of 20,000 tensors': send(pack, 'application/octet-stream', '/v1/domains/attack', 'PUT'),
      'image as a pack': send(photo, 'application/octet-stream', '/v1/domains/attack', 'PUT'),
      'chunks of one byte': () => this.#tinyChunks(path, 200_000),
      'held bodies': several(() => this.#held(path, 16 * MIB), 16),
      'slow bodies': several(() => this.#slow(path, image), 8),
      'silent connections': several(() => this.#silent(), 64),
      'clients that leave': several(() => this.#leave(path, photo), 4),
      'unknown domains': several(
        () =>
          this.#send('POST', `/v1/domains/none-${this.#turn++}/predict`, 'image/png', image).then(
            (status) => [status],
          ),
        8,
      ),
    }
  }

  #send(method: string, path: string, type: string, body: Uint8Array): Promise<string> {
    return new Promise((resolve) => {
      const agent = this.#agents[this.#turn++ % this.#agents.length]!
      const headers = { 'content-type': type, 'content-length': body.length }
      const sent = request(`${this.#job.url}${path}`, { method, agent, headers }, (response) => {
        response.resume()
        response.once('close', () => resolve(String(response.statusCode)))
      })
      sent.setTimeout(PATIENCE_MS, () => sent.destroy())
      sent.once('error', () => resolve('none'))
      sent.end(body)
    })
  }

  /** A connection of our own, for what no HTTP client sends. */
  async #socket(): Promise<Socket> {
    const { hostname, port } = new URL(this.#job.url)
    const localAddress = ADDRESSES[this.#turn++ % ADDRESSES.length]!
    const socket = connect({ host: hostname, port: Number(port), localAddress })
    socket.on('error', () => {})
    await Promise.race([once(socket, 'connect'), once(socket, 'close')])
    return socket
  }

  /** Writes, and resolves with the status of the answer when the connection ends or patience does. */
  async #raw(write: (socket: Socket) => Promise<void>): Promise<string[]> {
    const socket = await this.#socket()
    let text = ''
    socket.on('data', (data) => {
      if (text.length < 100) text += data.toString('latin1')
    })
    const answered = once(socket, 'data').catch(() => {})
    await Promise.race([write(socket), once(socket, 'close')])
    await Promise.race([answered, once(socket, 'close'), sleep(PATIENCE_MS)])
    socket.destroy()
    return [/^HTTP\/1.1 (\d+)/.exec(text)?.[1] ?? 'none']
  }

  #tinyChunks(path: string, count: number): Promise<string[]> {
    return this.#raw(async (socket) => {
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n`,
      )
      const part = Buffer.from('1\r\nx\r\n'.repeat(1000))
      for (let sent = 0; sent < count && socket.writable; sent += 1000)
        if (!socket.write(part)) await Promise.race([once(socket, 'drain'), once(socket, 'close')])
      socket.write('0\r\n\r\n')
    })
  }

  /** Announces a body and sends none of it. */
  #held(path: string, bytes: number): Promise<string[]> {
    return this.#raw(async (socket) => {
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: ${bytes}\r\n\r\n`,
      )
      await sleep(HOLD_MS)
      socket.destroy()
    })
  }

  /** Sends a body a few bytes at a time. */
  #slow(path: string, image: Uint8Array): Promise<string[]> {
    return this.#raw(async (socket) => {
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: ${image.length}\r\n\r\n`,
      )
      for (let at = 0; at < image.length && socket.writable && !this.#stopped; at += 4) {
        socket.write(image.subarray(at, at + 4))
        await sleep(500)
      }
    })
  }

  async #silent(): Promise<string[]> {
    const socket = await this.#socket()
    await Promise.race([sleep(HOLD_MS), once(socket, 'close')])
    socket.destroy()
    return ['none']
  }

  /** Sends an image and leaves while it is decoded. */
  #leave(path: string, body: Uint8Array): Promise<string[]> {
    return this.#raw(async (socket) => {
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: ${body.length}\r\n\r\n`,
      )
      socket.write(body)
      await sleep(50)
      socket.destroy()
    })
  }
}

let attackers: Attackers | undefined

answer<({ type: 'hello' | 'stop' } | ({ type: 'start' } & AttackJob)) & { id: number }>(
  async (question) => {
    if (question.type === 'start') {
      attackers = new Attackers(question)
      await attackers.start()
    }
    return question.type === 'stop' ? attackers!.stop() : null
  },
  async () => {},
)
