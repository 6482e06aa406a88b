/** Makes the schedule, once: `deno run -A --env-file schedule.ts`. To run it again changes nothing. */
import { Client } from "@upstash/qstash";

const qstash = new Client({ token: Deno.env.get("QSTASH_TOKEN"), baseUrl: Deno.env.get("QSTASH_URL") });
const { scheduleId } = await qstash.schedules.create({
  scheduleId: "tundra-drain",
  destination: Deno.env.get("DRAIN_URL")!,
  cron: "* * * * *",
  retries: 2,
});
console.log(`QStash calls ${Deno.env.get("DRAIN_URL")} each minute: schedule ${scheduleId}`);
