/**
 * The whole service as a child process of the benchmark. Over IPC it answers questions that no client can ask:
 * the delay of its event loop, how long its thread was held at a stretch, what its thread does, and the speed of
 * its engine when images come from memory.
 *
 * The arguments are those of `facet serve`. It logs nothing unless told `--log-level`.
 */
import { Session } from 'node:inspector/promises'
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { systemClock } from '../../src/concurrency/clock.js'
import { tuneCollector } from '../../src/serve/collector.js'
import { type ServeConfig, serveCommand } from '../../src/config/config.js'
import { readFamily } from '../../src/family/folder.js'
import { openLog } from '../../src/serve/log.js'
import { startService } from '../../src/serve/service.js'
import { HeldMeter } from '../livez/held.js'
import { answer } from '../processes.js'
import { random } from '../random.js'

export type ToService =
  | { type: 'hello' | 'url' | 'delay-start' | 'delay-stop' | 'held-start' | 'held-stop' }
  | { type: 'profile-start' | 'profile-stop' }
  | { type: 'feed'; domains: string[]; images: number; atOnce: number }

/** Delay of the event loop, ms. */
export interface LoopDelay {
  p50: number
  p99: number
}

/** Interval between two samples of a profile, microseconds. */
const SAMPLED_US = 250

tuneCollector()
let config: ServeConfig | undefined
await serveCommand(async (read) => {
  config = read
}).parseAsync(['--log-level', 'silent', ...process.argv.slice(2)], { from: 'user' })
const logger = await openLog({ level: config!.logLevel, format: 'json' })
const service = await startService(config!, { logger, clock: systemClock })
let delay: IntervalHistogram | undefined
const held = new HeldMeter()
const inspector = new Session()
const next = random(17)
const { input } = (await readFamily(config!.families[0])).manifest
const pixels = Uint8Array.from({ length: input.height * input.width * 3 }, () => next() * 256)

/**
 * Queues images from memory, without HTTP and decoding.
 * @returns time of each, in the order of the answers, ms
 */
async function feed({ domains, images, atOnce }: Extract<ToService, { type: 'feed' }>): Promise<number[]> {
  const { registry } = service
  const [runtime] = service.runtimes
  const latencies: number[] = []
  let left = images
  const client = async () => {
    while (left-- > 0) {
      const start = performance.now()
      const domain = domains[Math.floor(next() * domains.length)]!
      const lease = await registry.acquire(domain)
      try {
        const { version, row, generation } = lease
        await runtime.scheduler.submit(domain, { domain, version, pixels, row, generation })
      } finally {
        lease.release()
      }
      latencies.push(performance.now() - start)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, client))
  return latencies
}

answer<ToService & { id: number }>(
  async (question) => {
    switch (question.type) {
      case 'hello':
      case 'url':
        return service.url
      case 'feed':
        return feed(question)
      case 'held-start':
        held.start()
        return null
      case 'held-stop':
        return held.stop()
      case 'profile-start':
        inspector.connect()
        await inspector.post('Profiler.enable')
        await inspector.post('Profiler.setSamplingInterval', { interval: SAMPLED_US })
        await inspector.post('Profiler.start')
        return null
      case 'profile-stop': {
        const { profile } = await inspector.post('Profiler.stop')
        inspector.disconnect()
        return profile
      }
      case 'delay-start':
        delay = monitorEventLoopDelay({ resolution: 1 })
        delay.enable()
        return null
      case 'delay-stop':
        delay!.disable()
        return { p50: delay!.percentile(50) / 1e6, p99: delay!.percentile(99) / 1e6 } satisfies LoopDelay
    }
  },
  () => service.stop(),
)
