/** Asks for `/livez` again and again, as its own process. */
import { Agent } from 'node:http'
import { send } from '../client.js'
import { answer } from '../processes.js'

/** Time between an answer and the next request, ms. */
const PAUSE_MS = 3

const agent = new Agent({ keepAlive: true, maxSockets: 1 })
let polling = false
let longest = 0
let running: Promise<void> = Promise.resolve()

async function poll(url: string): Promise<void> {
  while (polling) {
    const start = performance.now()
    const { status } = await send(agent, url, { method: 'GET', path: '/livez' })
    if (status !== 200) throw new Error(`/livez answered ${status}`)
    longest = Math.max(longest, performance.now() - start)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
}

answer<({ type: 'hello' | 'stop' } | { type: 'start'; url: string }) & { id: number }>(
  async (question) => {
    if (question.type === 'start') {
      polling = true
      longest = 0
      running = poll(question.url)
      running.catch(() => {})
    } else if (question.type === 'stop') {
      polling = false
      await running
      return longest
    }
    return null
  },
  async () => agent.destroy(),
)
