import t from 'tap'
import { packBytes, pngImage, predict, put, runService } from './service-rig.js'

for (const lanes of ['1', '2']) {
  t.test(
    `a loaded domain is replaced 50 times under load, ${lanes} lanes: no failed or stale answer (pain 5)`,
    async (t) => {
      const { service, url } = await runService(t, ['--lanes', lanes])
      await service.runtimes[0].engine.allLanesReady()
      const packs = [packBytes(1, 'even'), packBytes(2, 'odd')]
      const first = await put(url, 'shop', packs[0]!)
      t.equal(first.status, 201)
      const versions = [(await predict(url, 'shop', await pngImage(1))).version]

      /** Number of the last PUT that was answered, and of the last one sent. */
      let answered = 0
      let sent = 0
      let running = true
      let requests = 0
      let answer = () => {}
      const wrong: string[] = []
      const image = await pngImage(7)
      const hammer = async () => {
        while (running) {
          const oldest = answered
          const { version, predictions } = await predict(url, 'shop', image)
          const newest = sent
          requests++
          answer()
          const prefix = version === versions[0] ? 'even' : 'odd'
          if (!predictions.every(({ label }) => label.startsWith(prefix)))
            wrong.push(`version ${version} answered with labels ${predictions.map(({ label }) => label)}`)
          // Pack n is even or odd; with no PUT in between there is only one right answer.
          if (oldest === newest && (oldest % 2 === 0) !== (prefix === 'even'))
            wrong.push(`after PUT ${oldest} had returned, '${prefix}' answered`)
        }
      }
      const clients = Array.from({ length: 6 }, hammer)
      for (let swap = 1; swap <= 50; swap++) {
        const before = requests
        sent = swap
        const response = await put(url, 'shop', packs[swap % 2]!)
        answered = swap
        if (response.status !== 200)
          wrong.push(`PUT ${swap}: HTTP ${response.status}: ${await response.text()}`)
        else await response.arrayBuffer()
        // Some requests with this version alone, so that every swap happens under load and is checked.
        while (requests < before + 8)
          await new Promise<void>((resolve) => {
            answer = resolve
          })
      }
      running = false
      await Promise.all(clients)
      t.same(wrong, [])
      t.ok(requests >= 400, `${requests} requests, none failed`)
    },
  )
}
